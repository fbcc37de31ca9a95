-- Version 6: queues (specs/queues.md). The columns are those of SQLite's 0010.

CREATE TABLE queues (
    name          text COLLATE "C" PRIMARY KEY,
    state         text NOT NULL,
    concurrency   bigint,
    per_engine    bigint,
    per_key       bigint,
    rate_count    bigint,
    rate_ms       bigint,
    declared      text NOT NULL,
    delayed       bigint NOT NULL,
    waiting       bigint NOT NULL,
    running       bigint NOT NULL,
    turn          bigint NOT NULL,
    started       bigint NOT NULL,
    next_start_at bigint NOT NULL,
    created_at    bigint NOT NULL
);

CREATE INDEX queues_waiting ON queues (next_start_at) WHERE waiting > 0;
CREATE TABLE queue_entries (
    id             text COLLATE "C" PRIMARY KEY,
    queue          text COLLATE "C" NOT NULL,
    key            text COLLATE "C" NOT NULL,
    target         text COLLATE "C" NOT NULL,
    rank           bigint NOT NULL,
    n              bigint NOT NULL,
    state          text NOT NULL,
    ready_at       bigint NOT NULL,
    admitted_at    bigint,
    engine         text COLLATE "C",
    dedupe         text COLLATE "C",
    debounce_until bigint
);

CREATE INDEX queue_entries_line ON queue_entries (queue, key, target, rank, n) WHERE state = 'waiting';
CREATE INDEX queue_entries_oldest ON queue_entries (queue, n) WHERE state = 'waiting';
CREATE INDEX queue_entries_delayed ON queue_entries (ready_at) WHERE state = 'delayed';
CREATE INDEX queue_entries_engine ON queue_entries (queue, engine) WHERE engine IS NOT NULL;
CREATE UNIQUE INDEX queue_entries_dedupe ON queue_entries (queue, dedupe) WHERE dedupe IS NOT NULL;
CREATE TABLE queue_keys (
    queue   text COLLATE "C" NOT NULL,
    key     text COLLATE "C" NOT NULL,
    running bigint NOT NULL,
    waiting bigint NOT NULL,
    turn    bigint NOT NULL,
    PRIMARY KEY (queue, key)
);
CREATE TABLE queue_lines (
    queue   text COLLATE "C" NOT NULL,
    key     text COLLATE "C" NOT NULL,
    target  text COLLATE "C" NOT NULL,
    rank    bigint NOT NULL,
    waiting bigint NOT NULL,
    open    bigint NOT NULL,
    turn    bigint NOT NULL,
    PRIMARY KEY (queue, key, target, rank)
);

CREATE INDEX queue_lines_open ON queue_lines (queue, target, rank, turn) WHERE open = 1;
CREATE TABLE queue_starts (
    queue text COLLATE "C" NOT NULL,
    n     bigint NOT NULL,
    at    bigint NOT NULL,
    PRIMARY KEY (queue, n)
);
ALTER TABLE tasks ADD COLUMN queue text COLLATE "C";
CREATE INDEX tasks_queue ON tasks (queue, due) WHERE state = 'pending' AND due IS NOT NULL AND queue IS NOT NULL;
ALTER TABLE engines ADD COLUMN queues text;
