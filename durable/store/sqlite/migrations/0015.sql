-- Version 15: how long executions are kept once they have ended (specs/store.md, Forgetting).

-- By a function's id, as engines declared it; '*' for functions without a rule of their own.
CREATE TABLE retentions (
    function TEXT PRIMARY KEY,
    rules    TEXT NOT NULL          -- JSON: state to milliseconds; null is for ever
) WITHOUT ROWID;
