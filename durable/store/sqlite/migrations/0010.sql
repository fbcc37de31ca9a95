-- Version 10: queues (specs/queues.md).

CREATE TABLE queues (
    name          TEXT PRIMARY KEY,
    state         TEXT NOT NULL,       -- open, paused, draining
    concurrency   INTEGER,             -- limits; NULL for none
    per_engine    INTEGER,
    per_key       INTEGER,
    rate_count    INTEGER,
    rate_ms       INTEGER,
    declared      TEXT NOT NULL,       -- JSON: the limits that code declared last, '' for none
    delayed       INTEGER NOT NULL,    -- how many entries it has in each state
    waiting       INTEGER NOT NULL,
    running       INTEGER NOT NULL,    -- admitted
    turn          INTEGER NOT NULL,    -- the last place that was given: of an entry in its line, of a key in the round
    started       INTEGER NOT NULL,    -- how many have been admitted so far
    next_start_at INTEGER NOT NULL,    -- before that the rate admits nothing
    created_at    INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX queues_waiting ON queues (next_start_at) WHERE waiting > 0;

-- An execution of a queue that has not ended.
CREATE TABLE queue_entries (
    id             TEXT PRIMARY KEY,   -- its promise
    queue          TEXT NOT NULL,
    key            TEXT NOT NULL,
    target         TEXT NOT NULL,      -- its group and its function, with a space between
    rank           INTEGER NOT NULL,   -- its priority, negated: the lowest first
    n              INTEGER NOT NULL,   -- its place in its line
    state          TEXT NOT NULL,      -- delayed, waiting, held, admitted
    ready_at       INTEGER NOT NULL,   -- when it stands in its line, if it is delayed; since when, if it waits
    admitted_at    INTEGER,
    engine         TEXT,               -- to which it was offered last, while it may run there
    dedupe         TEXT,               -- no other entry of the queue has the same
    debounce_until INTEGER             -- when it begins at the latest, however often it is enqueued again
) WITHOUT ROWID;

CREATE INDEX queue_entries_line ON queue_entries (queue, key, target, rank, n) WHERE state = 'waiting';
CREATE INDEX queue_entries_oldest ON queue_entries (queue, n) WHERE state = 'waiting';
CREATE INDEX queue_entries_delayed ON queue_entries (ready_at) WHERE state = 'delayed';
CREATE INDEX queue_entries_engine ON queue_entries (queue, engine) WHERE engine IS NOT NULL;
CREATE UNIQUE INDEX queue_entries_dedupe ON queue_entries (queue, dedupe) WHERE dedupe IS NOT NULL;

-- A key with entries that wait or are admitted.
CREATE TABLE queue_keys (
    queue   TEXT NOT NULL,
    key     TEXT NOT NULL,
    running INTEGER NOT NULL,
    waiting INTEGER NOT NULL,
    turn    INTEGER NOT NULL,          -- its place in the round, while entries of it wait
    PRIMARY KEY (queue, key)
) WITHOUT ROWID;

-- The entries of a key, for one function and priority, that wait.
CREATE TABLE queue_lines (
    queue   TEXT NOT NULL,
    key     TEXT NOT NULL,
    target  TEXT NOT NULL,
    rank    INTEGER NOT NULL,
    waiting INTEGER NOT NULL,
    open    INTEGER NOT NULL,          -- 1: its key may have another place
    turn    INTEGER NOT NULL,          -- its key's
    PRIMARY KEY (queue, key, target, rank)
) WITHOUT ROWID;

CREATE INDEX queue_lines_open ON queue_lines (queue, target, rank, turn) WHERE open = 1;

-- The last starts of a queue that has a rate, as many as its count.
CREATE TABLE queue_starts (
    queue TEXT NOT NULL,
    n     INTEGER NOT NULL,
    at    INTEGER NOT NULL,
    PRIMARY KEY (queue, n)
) WITHOUT ROWID;

-- the queue in which it stands, or stood before it ended
ALTER TABLE tasks ADD COLUMN queue TEXT;
CREATE INDEX tasks_queue ON tasks (queue, due) WHERE state = 'pending' AND due IS NOT NULL AND queue IS NOT NULL;
-- JSON array of the queues from which alone it takes executions; NULL where it takes all
ALTER TABLE engines ADD COLUMN queues TEXT;
