-- Version 8: tags by which executions are found (specs/store.md, Tags): those of their promises that begin with durable:tag:.

CREATE TABLE execution_tags (
    name       TEXT NOT NULL,
    value      TEXT NOT NULL,
    created_at INTEGER NOT NULL,      -- of the execution: the order of lists
    id         TEXT NOT NULL,         -- its promise
    PRIMARY KEY (name, value, created_at, id)
) WITHOUT ROWID;

CREATE INDEX execution_tags_of ON execution_tags (id, name);
