-- Version 11: schedules that say what becomes of ticks while an execution of theirs goes on (specs/schedules.md).

-- what a tick does while an execution of the schedule has not ended: allow, skip, queue, cancel
ALTER TABLE schedules ADD COLUMN overlap TEXT NOT NULL DEFAULT 'allow';
-- an execution begins up to so much later than its tick
ALTER TABLE schedules ADD COLUMN jitter_ms INTEGER NOT NULL DEFAULT 0;
-- 1: no tick fires
ALTER TABLE schedules ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
-- the promise of its newest execution
ALTER TABLE schedules ADD COLUMN last_promise TEXT;
-- how many ticks made nothing, since an execution went on
ALTER TABLE schedules ADD COLUMN skipped INTEGER NOT NULL DEFAULT 0;
DROP INDEX schedules_next;
CREATE INDEX schedules_next ON schedules (next_run_at) WHERE paused = 0;
-- what stands in no line, by its queue
CREATE INDEX queue_entries_unlined ON queue_entries (queue) WHERE state <> 'waiting';
