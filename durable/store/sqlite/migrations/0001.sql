-- Version 1 of the store's schema (specs/store.md). Times are milliseconds since the epoch.
-- Ids are clustered keys: a root's steps, calls and children lie next to it.

CREATE TABLE promises (
    id            TEXT PRIMARY KEY,
    state         TEXT NOT NULL DEFAULT 'pending',
    param_headers TEXT,               -- JSON object of strings
    param_data    TEXT,               -- opaque to the store
    value_headers TEXT,
    value_data    TEXT,
    tags          TEXT NOT NULL,      -- JSON object of strings
    timeout_at    INTEGER NOT NULL,
    created_at    INTEGER NOT NULL,
    settled_at    INTEGER,
    external      INTEGER NOT NULL,   -- 1: others may await it, listen to it, settle it
    branch        TEXT,               -- tag resonate:branch where it is another promise
    capability    TEXT,               -- tag durable:capability
    outcome       TEXT                -- 'lost' when given up after its attempts
) WITHOUT ROWID;

-- 9007199254740991 is "no deadline": such promises cost this index nothing.
CREATE INDEX promises_deadline ON promises (timeout_at) WHERE state = 'pending' AND timeout_at < 9007199254740991;
CREATE INDEX promises_branch ON promises (branch) WHERE branch IS NOT NULL;
CREATE INDEX promises_asked ON promises (capability, created_at) WHERE state = 'pending' AND capability IS NOT NULL;

CREATE TABLE tasks (
    id              TEXT PRIMARY KEY,
    state           TEXT NOT NULL,
    version         INTEGER NOT NULL,
    pid             TEXT,             -- while acquired: who holds the lease
    ttl             INTEGER,
    lease_at        INTEGER,          -- while acquired: when the lease ends
    due             INTEGER,          -- while pending: when to dispatch; NULL behind another cell of its session
    not_before      INTEGER NOT NULL, -- tag resonate:delay, or 0
    resumes         INTEGER NOT NULL DEFAULT 0,
    grp             TEXT,             -- of resonate:target
    preferred       TEXT,             -- pid of resonate:target
    exclusive       INTEGER NOT NULL, -- 1: nobody but `preferred` (poll://uni@)
    function        TEXT NOT NULL,    -- tag durable:function, or ''
    session         TEXT,
    n               INTEGER,          -- its place in the session
    timer           INTEGER NOT NULL, -- 1: a durable sleep, never dispatched
    attempts_failed INTEGER NOT NULL DEFAULT 0,
    attempts_died   INTEGER NOT NULL DEFAULT 0,
    progress        INTEGER NOT NULL DEFAULT 0,
    last_error      TEXT,
    note            TEXT,             -- why it is halted
    created_at      INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX tasks_due ON tasks (due, grp, function) WHERE state = 'pending' AND due IS NOT NULL;
CREATE INDEX tasks_lease ON tasks (lease_at) WHERE state = 'acquired';
CREATE INDEX tasks_created ON tasks (created_at, id);

CREATE TABLE callbacks (
    awaited TEXT NOT NULL,
    awaiter TEXT NOT NULL,
    PRIMARY KEY (awaited, awaiter)
) WITHOUT ROWID;

CREATE INDEX callbacks_awaiter ON callbacks (awaiter);

CREATE TABLE listeners (
    awaited TEXT NOT NULL,
    address TEXT NOT NULL,
    PRIMARY KEY (awaited, address)
) WITHOUT ROWID;

-- Messages for addresses that the committing process does not serve.
CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    address    TEXT NOT NULL,
    message    TEXT NOT NULL,
    created_at INTEGER NOT NULL
);

CREATE INDEX outbox_address ON outbox (address);

CREATE TABLE schedules (
    id              TEXT PRIMARY KEY,
    cron            TEXT NOT NULL,
    promise_id      TEXT NOT NULL,
    promise_timeout INTEGER NOT NULL,
    promise_param   TEXT NOT NULL,
    promise_tags    TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    next_run_at     INTEGER NOT NULL,
    last_run_at     INTEGER
) WITHOUT ROWID;

CREATE INDEX schedules_next ON schedules (next_run_at);

CREATE TABLE engines (
    engine         TEXT PRIMARY KEY,
    grp            TEXT NOT NULL,
    pid            INTEGER NOT NULL,
    functions      TEXT NOT NULL,     -- JSON array of where::name@version
    serves_sessions INTEGER NOT NULL,
    joined_at      INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE sessions (
    name         TEXT PRIMARY KEY,
    owner        TEXT,                -- engine
    epoch        INTEGER NOT NULL,    -- grows with every change of owner, never shrinks
    options      TEXT NOT NULL,       -- JSON object
    worker_pid   INTEGER,
    worker_start INTEGER,             -- start time of that process, so that a reused pid is told apart
    closed       INTEGER NOT NULL DEFAULT 0,
    next_n       INTEGER NOT NULL,    -- never shrinks, not even when made anew
    created_at   INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX sessions_owner ON sessions (owner) WHERE owner IS NOT NULL;

CREATE TABLE cells (
    session TEXT NOT NULL,
    n       INTEGER NOT NULL,
    promise TEXT NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (session, n)
) WITHOUT ROWID;

CREATE INDEX cells_open ON cells (session, n) WHERE settled = 0;

CREATE TABLE output (
    execution TEXT NOT NULL,
    start     INTEGER NOT NULL,       -- characters of both streams before this chunk
    length    INTEGER NOT NULL,
    stream    TEXT NOT NULL,
    text      TEXT NOT NULL,
    PRIMARY KEY (execution, start)
);

CREATE TABLE checkpoints (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    session    TEXT NOT NULL,
    epoch      INTEGER NOT NULL,
    execution  TEXT,
    n          INTEGER,
    statement  INTEGER NOT NULL,
    final      INTEGER NOT NULL,
    label      TEXT,
    manifest   BLOB NOT NULL,
    created_at INTEGER NOT NULL
);

CREATE INDEX checkpoints_session ON checkpoints (session, id);

CREATE TABLE checkpoint_uses (
    checkpoint INTEGER NOT NULL,
    digest     TEXT NOT NULL,
    PRIMARY KEY (checkpoint, digest)
) WITHOUT ROWID;

CREATE INDEX checkpoint_uses_digest ON checkpoint_uses (digest);

CREATE TABLE chunks (
    digest TEXT PRIMARY KEY,
    data   BLOB NOT NULL
);
