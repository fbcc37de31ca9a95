-- Version 5: what functions need to be cancelled and to log once (specs/execution.md), who let a lease lapse, results that were thrown
-- away (specs/store.md, Leases), and lists that read no more than they show (specs/store.md, Reads).

-- when a cancelled function has to have ended its clean-up
ALTER TABLE tasks ADD COLUMN cancel_at INTEGER;
-- when that was asked for: what had come before it is delivered before it
ALTER TABLE tasks ADD COLUMN cancelled_at INTEGER;
-- why it is cancelled
ALTER TABLE tasks ADD COLUMN cancel_reason TEXT;
CREATE INDEX tasks_cancel ON tasks (cancel_at) WHERE cancel_at IS NOT NULL;
-- JSON object: lines that each context logged, at its last suspension
ALTER TABLE tasks ADD COLUMN logged TEXT;
-- who held the lease that lapsed and how long it was, while the task is pending and nobody has acquired it since
ALTER TABLE tasks ADD COLUMN lapsed_pid TEXT;
ALTER TABLE tasks ADD COLUMN lapsed_ttl INTEGER;
-- how its promise was settled, in the words of the surfaces: completed, failed, lost, cancelled, timed_out
ALTER TABLE tasks ADD COLUMN ended TEXT;
UPDATE tasks SET ended = (
    SELECT CASE p.state
        WHEN 'resolved' THEN 'completed'
        WHEN 'rejected' THEN iif(p.outcome = 'lost', 'lost', 'failed')
        WHEN 'rejected_canceled' THEN 'cancelled'
        ELSE 'timed_out' END
    FROM promises p WHERE p.id = tasks.id
) WHERE state = 'fulfilled';
-- the state of an execution in the words of the surfaces
ALTER TABLE tasks ADD COLUMN word TEXT GENERATED ALWAYS AS (
    CASE state
        WHEN 'fulfilled' THEN ended
        WHEN 'suspended' THEN 'waiting'
        WHEN 'halted' THEN 'interrupted'
        WHEN 'acquired' THEN 'running'
        ELSE iif(version = 0, 'pending', 'running') END
) VIRTUAL;

-- the same of what lists show: executions, and no timers
ALTER TABLE tasks ADD COLUMN listed TEXT GENERATED ALWAYS AS (iif(timer = 0 AND id >= 'exec:' AND id < 'exec;', word, NULL)) VIRTUAL;

-- One range of an index for each filter that a list has; a list without a state merges the ranges of all nine.
DROP INDEX tasks_created;
CREATE INDEX tasks_listed ON tasks (listed, created_at, id) WHERE listed IS NOT NULL;
CREATE INDEX tasks_function ON tasks (function, listed, created_at, id) WHERE listed IS NOT NULL;
CREATE INDEX tasks_session ON tasks (session, function, listed, created_at, id) WHERE listed IS NOT NULL AND session IS NOT NULL;

CREATE TABLE discards (
    execution TEXT NOT NULL,          -- its promise
    at        INTEGER NOT NULL,
    step      TEXT NOT NULL,          -- the promise whose result was thrown away: a step's, or the execution's own
    version   INTEGER NOT NULL,       -- of the lease that was lost
    reason    TEXT NOT NULL,
    PRIMARY KEY (execution, at, step)
) WITHOUT ROWID;
