-- Version 4: tags by which executions are found (specs/store.md, Tags). The columns are those of SQLite's 0008.

CREATE TABLE execution_tags (
    name       text COLLATE "C" NOT NULL,
    value      text COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    id         text COLLATE "C" NOT NULL,
    PRIMARY KEY (name, value, created_at, id)
);
CREATE INDEX execution_tags_of ON execution_tags (id, name);
