-- Version 9: streams that executions write, and values that they publish (specs/streams.md).

CREATE TABLE streams (
    execution TEXT NOT NULL,          -- the promise of the outermost function
    name      TEXT NOT NULL,
    next_n    INTEGER NOT NULL,       -- the offset of the next item
    PRIMARY KEY (execution, name)
) WITHOUT ROWID;

CREATE TABLE stream_items (
    execution TEXT NOT NULL,
    name      TEXT NOT NULL,
    n         INTEGER NOT NULL,       -- the offset of the write's first item
    items     INTEGER NOT NULL,       -- how many it has
    promise   TEXT NOT NULL,          -- whose param they are
    step      TEXT,                   -- the step that wrote them; NULL: the function did
    position  INTEGER,                -- the number of its first item in that step
    PRIMARY KEY (execution, name, n)
) WITHOUT ROWID;

CREATE INDEX stream_items_step ON stream_items (execution, name, step, position) WHERE step IS NOT NULL;

CREATE TABLE published (
    execution TEXT NOT NULL,
    key       TEXT NOT NULL,
    n         INTEGER NOT NULL,       -- the number of the publication
    promise   TEXT NOT NULL,
    PRIMARY KEY (execution, key)
) WITHOUT ROWID;
