-- Version 3: what was cut from an execution's output, so that every reader learns it (specs/store.md, S10).

CREATE TABLE rewinds (
    execution TEXT NOT NULL,
    n         INTEGER NOT NULL,       -- grows by one with each cut
    start     INTEGER NOT NULL,       -- what was printed from this character on is gone, and may be printed anew
    PRIMARY KEY (execution, n)
) WITHOUT ROWID;
