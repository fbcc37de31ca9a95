-- Version 2: what sessions may do and who decided what (specs/permission.md), and the values that code keeps (capability kv).

-- One row for each session whose permissions were changed, and '*' for what holds in all. A call counts only under the sum of both versions.
CREATE TABLE policies (
    name     TEXT PRIMARY KEY,
    version  INTEGER NOT NULL,        -- grows with each change
    document TEXT NOT NULL            -- JSON object, opaque to the store
) WITHOUT ROWID;

CREATE TABLE audit (
    id        INTEGER PRIMARY KEY AUTOINCREMENT,
    at        INTEGER NOT NULL,
    who       TEXT NOT NULL,          -- session or component
    execution TEXT NOT NULL,          -- '' when the permissions themselves changed
    what      TEXT NOT NULL,          -- capability
    resource  TEXT NOT NULL,
    verdict   TEXT NOT NULL,
    reason    TEXT NOT NULL,
    policy    INTEGER NOT NULL,       -- version of the permissions that decided
    times     INTEGER NOT NULL        -- how often, when the same was decided again and again
);

CREATE INDEX audit_who ON audit (who, id);
CREATE INDEX audit_at ON audit (at);

CREATE TABLE kv (
    namespace TEXT NOT NULL,
    key       TEXT NOT NULL,
    value     TEXT NOT NULL,          -- JSON
    bytes     INTEGER NOT NULL,       -- of key and value, in UTF-8
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID;

CREATE TABLE kv_usage (
    namespace TEXT PRIMARY KEY,
    bytes     INTEGER NOT NULL,
    keys      INTEGER NOT NULL
) WITHOUT ROWID;
