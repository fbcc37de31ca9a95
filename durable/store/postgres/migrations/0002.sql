-- Version 2: values that are sent to executions from outside (specs/signals.md). The columns are those of SQLite's 0006.

CREATE TABLE signals (
    execution text COLLATE "C" NOT NULL,
    name      text COLLATE "C" NOT NULL,
    n         bigint NOT NULL,
    key       text COLLATE "C",
    data      text,
    taken     bigint NOT NULL,
    sent_at   bigint NOT NULL,
    PRIMARY KEY (execution, name, n)
);
CREATE UNIQUE INDEX signals_key ON signals (execution, name, key) WHERE key IS NOT NULL;
CREATE INDEX signals_open ON signals (execution, name, n) WHERE taken = 0;

CREATE TABLE signal_waits (
    execution text COLLATE "C" NOT NULL,
    name      text COLLATE "C" NOT NULL,
    n         bigint NOT NULL,
    promise   text COLLATE "C" NOT NULL,
    PRIMARY KEY (execution, name, n)
);
