-- Version 11: how long executions are kept once they have ended. The columns are those of SQLite's 0015.

CREATE TABLE retentions (
    function text COLLATE "C" PRIMARY KEY,
    rules    text NOT NULL
);
