-- Version 6: values that are sent to executions from outside (specs/signals.md).

CREATE TABLE signals (
    execution TEXT NOT NULL,          -- its promise
    name      TEXT NOT NULL,
    n         INTEGER NOT NULL,       -- in the order of sending
    key       TEXT,                   -- whoever sends again under the same key sends nothing
    data      TEXT,                   -- the value, opaque to the store; NULL once it was taken
    taken     INTEGER NOT NULL,       -- 1: a wait has it; the row stays for its key
    sent_at   INTEGER NOT NULL,
    PRIMARY KEY (execution, name, n)
) WITHOUT ROWID;

CREATE UNIQUE INDEX signals_key ON signals (execution, name, key) WHERE key IS NOT NULL;
CREATE INDEX signals_open ON signals (execution, name, n) WHERE taken = 0;

-- The promises of an execution that wait for a signal, in the order in which they began to.
CREATE TABLE signal_waits (
    execution TEXT NOT NULL,
    name      TEXT NOT NULL,
    n         INTEGER NOT NULL,
    promise   TEXT NOT NULL,
    PRIMARY KEY (execution, name, n)
) WITHOUT ROWID;
