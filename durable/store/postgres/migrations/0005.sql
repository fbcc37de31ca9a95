-- Version 5: streams that executions write, and values that they publish (specs/streams.md). The columns are those of SQLite's 0009.

CREATE TABLE streams (
    execution text COLLATE "C" NOT NULL,
    name      text COLLATE "C" NOT NULL,
    next_n    bigint NOT NULL,
    PRIMARY KEY (execution, name)
);

CREATE TABLE stream_items (
    execution text COLLATE "C" NOT NULL,
    name      text COLLATE "C" NOT NULL,
    n         bigint NOT NULL,
    items     bigint NOT NULL,
    promise   text COLLATE "C" NOT NULL,
    step      text COLLATE "C",
    position  bigint,
    PRIMARY KEY (execution, name, n)
);
CREATE INDEX stream_items_step ON stream_items (execution, name, step, position) WHERE step IS NOT NULL;

CREATE TABLE published (
    execution text COLLATE "C" NOT NULL,
    key       text COLLATE "C" NOT NULL,
    n         bigint NOT NULL,
    promise   text COLLATE "C" NOT NULL,
    PRIMARY KEY (execution, key)
);
