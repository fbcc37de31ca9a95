-- Version 1 of the schema on PostgreSQL: the tables of SQLite's version 5 (sqlite/migrations/), told there column by column.
-- Times are milliseconds since the epoch, numbers bigint, flags 0 or 1, text in the order of its code points.

-- Functions of SQLite that the shared statements use.
CREATE DOMAIN ordered AS text COLLATE "C";
CREATE FUNCTION without_nul(document text) RETURNS json LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- NUL in JSON text, written there as dialect.py writes it in any other.
    SELECT CASE WHEN strpos(document, E'\\u0000') = 0 THEN document
        ELSE regexp_replace(document, E'(?<!\\\\)((?:\\\\\\\\)*)\\\\u0000', E'\\1' || chr(64976) || '0', 'g') END::json
$$;
CREATE FUNCTION json_each(document text) RETURNS TABLE (key ordered, value ordered) LANGUAGE sql IMMUTABLE PARALLEL SAFE ROWS 10 AS $$
    SELECT o.key, o.value FROM json_each_text(CASE WHEN left(document, 1) = '{' THEN without_nul(document) ELSE '{}' END) o
    UNION ALL
    SELECT NULL, a.value FROM json_array_elements_text(CASE WHEN left(document, 1) = '[' THEN without_nul(document) ELSE '[]' END) a
$$;
CREATE FUNCTION instr(whole text, part text) RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$ SELECT strpos(whole, part) $$;
CREATE FUNCTION json_extract(document text, path text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT (document::json -> substr(path, 3))::text
$$;
CREATE FUNCTION json_valid(document text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    PERFORM document::json;
    RETURN true;
EXCEPTION WHEN others THEN
    RETURN false;
END
$$;

CREATE TABLE promises (
    id            text COLLATE "C" PRIMARY KEY,
    state         text NOT NULL DEFAULT 'pending',
    param_headers text,
    param_data    text,
    value_headers text,
    value_data    text,
    tags          text NOT NULL,
    timeout_at    bigint NOT NULL,
    created_at    bigint NOT NULL,
    settled_at    bigint,
    external      bigint NOT NULL,
    branch        text COLLATE "C",
    capability    text,
    outcome       text
);
CREATE INDEX promises_deadline ON promises (timeout_at) WHERE state = 'pending' AND timeout_at < 9007199254740991;
CREATE INDEX promises_branch ON promises (branch) WHERE branch IS NOT NULL;
CREATE INDEX promises_asked ON promises (capability, created_at) WHERE state = 'pending' AND capability IS NOT NULL;

CREATE TABLE tasks (
    id              text COLLATE "C" PRIMARY KEY,
    state           text NOT NULL,
    version         bigint NOT NULL,
    pid             text,
    ttl             bigint,
    lease_at        bigint,
    due             bigint,
    not_before      bigint NOT NULL,
    resumes         bigint NOT NULL DEFAULT 0,
    grp             text,
    preferred       text,
    exclusive       bigint NOT NULL,
    function        text COLLATE "C" NOT NULL,
    session         text COLLATE "C",
    n               bigint,
    timer           bigint NOT NULL,
    attempts_failed bigint NOT NULL DEFAULT 0,
    attempts_died   bigint NOT NULL DEFAULT 0,
    progress        bigint NOT NULL DEFAULT 0,
    last_error      text,
    note            text,
    created_at      bigint NOT NULL,
    cancel_at       bigint,
    cancelled_at    bigint,
    cancel_reason   text,
    logged          text,
    lapsed_pid      text,
    lapsed_ttl      bigint,
    ended           text,
    word            text GENERATED ALWAYS AS (
        CASE state
            WHEN 'fulfilled' THEN ended
            WHEN 'suspended' THEN 'waiting'
            WHEN 'halted' THEN 'interrupted'
            WHEN 'acquired' THEN 'running'
            ELSE CASE WHEN version = 0 THEN 'pending' ELSE 'running' END
        END) STORED,
    listed          text GENERATED ALWAYS AS (
        CASE WHEN timer = 0 AND id >= 'exec:' AND id < 'exec;' THEN
            CASE state
                WHEN 'fulfilled' THEN ended
                WHEN 'suspended' THEN 'waiting'
                WHEN 'halted' THEN 'interrupted'
                WHEN 'acquired' THEN 'running'
                ELSE CASE WHEN version = 0 THEN 'pending' ELSE 'running' END
            END
        END) STORED
);
CREATE INDEX tasks_due ON tasks (due, grp, function) WHERE state = 'pending' AND due IS NOT NULL;
CREATE INDEX tasks_lease ON tasks (lease_at) WHERE state = 'acquired';
CREATE INDEX tasks_cancel ON tasks (cancel_at) WHERE cancel_at IS NOT NULL;
CREATE INDEX tasks_listed ON tasks (listed, created_at, id) WHERE listed IS NOT NULL;
CREATE INDEX tasks_function ON tasks (function, listed, created_at, id) WHERE listed IS NOT NULL;
CREATE INDEX tasks_session ON tasks (session, function, listed, created_at, id) WHERE listed IS NOT NULL AND session IS NOT NULL;

CREATE TABLE callbacks (
    awaited text COLLATE "C" NOT NULL,
    awaiter text COLLATE "C" NOT NULL
);
-- A digest of the second one: an entry of an index has 2,700 bytes, and an id up to 2,000.
CREATE UNIQUE INDEX callbacks_pair ON callbacks (awaited, md5(awaiter));
CREATE INDEX callbacks_awaiter ON callbacks (awaiter);

CREATE TABLE listeners (
    awaited text COLLATE "C" NOT NULL,
    address text COLLATE "C" NOT NULL
);
CREATE UNIQUE INDEX listeners_pair ON listeners (awaited, md5(address));

CREATE TABLE outbox (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    address    text COLLATE "C" NOT NULL,
    message    text NOT NULL,
    created_at bigint NOT NULL
);
CREATE INDEX outbox_address ON outbox (address);

CREATE TABLE schedules (
    id              text COLLATE "C" PRIMARY KEY,
    cron            text NOT NULL,
    promise_id      text NOT NULL,
    promise_timeout bigint NOT NULL,
    promise_param   text NOT NULL,
    promise_tags    text NOT NULL,
    created_at      bigint NOT NULL,
    next_run_at     bigint NOT NULL,
    last_run_at     bigint
);
CREATE INDEX schedules_next ON schedules (next_run_at);

CREATE TABLE engines (
    engine          text COLLATE "C" PRIMARY KEY,
    grp             text NOT NULL,
    pid             bigint NOT NULL,
    functions       text NOT NULL,
    serves_sessions bigint NOT NULL,
    joined_at       bigint NOT NULL
);

-- In place of a file's record locks: an engine lives until then, unless it renews its lease.
CREATE TABLE engine_leases (
    engine text COLLATE "C" PRIMARY KEY,
    holder text NOT NULL,             -- one opening of the store by one process
    until  bigint NOT NULL
);

-- The last transaction that wrote something, of each opening of the store: after a connection was lost while a commit was
-- on its way, this row says whether it was made. (A transaction's number does not: a crash gives it to another one.)
CREATE TABLE commits (
    holder text COLLATE "C" PRIMARY KEY,
    number bigint NOT NULL,
    at     bigint NOT NULL
) WITH (fillfactor = 50);

CREATE TABLE sessions (
    name         text COLLATE "C" PRIMARY KEY,
    owner        text,
    epoch        bigint NOT NULL,
    options      text NOT NULL,
    worker_pid   bigint,
    worker_start bigint,
    closed       bigint NOT NULL DEFAULT 0,
    next_n       bigint NOT NULL,
    created_at   bigint NOT NULL
);
CREATE INDEX sessions_owner ON sessions (owner) WHERE owner IS NOT NULL;

CREATE TABLE cells (
    session text COLLATE "C" NOT NULL,
    n       bigint NOT NULL,
    promise text COLLATE "C" NOT NULL,
    settled bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (session, n)
);
CREATE INDEX cells_open ON cells (session, n) WHERE settled = 0;

CREATE TABLE output (
    execution text COLLATE "C" NOT NULL,
    start     bigint NOT NULL,
    length    bigint NOT NULL,
    stream    text NOT NULL,
    text      text NOT NULL,
    PRIMARY KEY (execution, start)
);

CREATE TABLE rewinds (
    execution text COLLATE "C" NOT NULL,
    n         bigint NOT NULL,
    start     bigint NOT NULL,
    PRIMARY KEY (execution, n)
);

CREATE TABLE checkpoints (
    id         bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    session    text COLLATE "C" NOT NULL,
    epoch      bigint NOT NULL,
    execution  text,
    n          bigint,
    statement  bigint NOT NULL,
    final      bigint NOT NULL,
    label      text,
    manifest   bytea NOT NULL,
    created_at bigint NOT NULL,
    by_code    bigint NOT NULL DEFAULT 0
);
CREATE INDEX checkpoints_session ON checkpoints (session, id);

CREATE TABLE checkpoint_uses (
    checkpoint bigint NOT NULL,
    digest     text COLLATE "C" NOT NULL,
    PRIMARY KEY (checkpoint, digest)
);
CREATE INDEX checkpoint_uses_digest ON checkpoint_uses (digest);

CREATE TABLE chunks (
    digest text COLLATE "C" PRIMARY KEY,
    data   bytea NOT NULL
);

-- Large chunks, which lie in files beside a file's store: in parts, so that none is held whole by the server.
CREATE TABLE blobs (
    digest text COLLATE "C" PRIMARY KEY,
    size   bigint NOT NULL,
    put_at bigint NOT NULL            -- when it was put last: what is young may be in use soon
);
CREATE TABLE blob_parts (
    digest text COLLATE "C" NOT NULL,
    n      bigint NOT NULL,
    data   bytea NOT NULL,
    PRIMARY KEY (digest, n)
);

CREATE TABLE policies (
    name     text COLLATE "C" PRIMARY KEY,
    version  bigint NOT NULL,
    document text NOT NULL
);

CREATE TABLE audit (
    id        bigint GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY,
    at        bigint NOT NULL,
    who       text NOT NULL,
    execution text NOT NULL,
    what      text NOT NULL,
    resource  text NOT NULL,
    verdict   text NOT NULL,
    reason    text NOT NULL,
    policy    bigint NOT NULL,
    times     bigint NOT NULL
);
CREATE INDEX audit_who ON audit (who, id);
CREATE INDEX audit_at ON audit (at);

CREATE TABLE kv (
    namespace text COLLATE "C" NOT NULL,
    key       text COLLATE "C" NOT NULL,
    value     text NOT NULL,
    bytes     bigint NOT NULL,
    PRIMARY KEY (namespace, key)
);

CREATE TABLE kv_usage (
    namespace text COLLATE "C" PRIMARY KEY,
    bytes     bigint NOT NULL,
    keys      bigint NOT NULL
);

CREATE TABLE discards (
    execution text COLLATE "C" NOT NULL,
    at        bigint NOT NULL,
    step      text COLLATE "C" NOT NULL,
    version   bigint NOT NULL,
    reason    text NOT NULL
);
CREATE UNIQUE INDEX discards_step ON discards (execution, at, md5(step));

-- The key that authenticates checkpoints: who may write this database could make any checkpoint valid.
CREATE TABLE secrets (
    name  text PRIMARY KEY,
    value bytea NOT NULL
);
