-- Version 7: schedules that say what becomes of ticks while an execution goes on. The columns are those of SQLite's 0011.

ALTER TABLE schedules ADD COLUMN overlap text NOT NULL DEFAULT 'allow';
ALTER TABLE schedules ADD COLUMN jitter_ms bigint NOT NULL DEFAULT 0;
ALTER TABLE schedules ADD COLUMN paused bigint NOT NULL DEFAULT 0;
ALTER TABLE schedules ADD COLUMN last_promise text;
ALTER TABLE schedules ADD COLUMN skipped bigint NOT NULL DEFAULT 0;
DROP INDEX schedules_next;
CREATE INDEX schedules_next ON schedules (next_run_at) WHERE paused = 0;
CREATE INDEX queue_entries_unlined ON queue_entries (queue) WHERE state <> 'waiting';
