PRAGMA foreign_keys=OFF;
BEGIN TRANSACTION;
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
INSERT INTO promises VALUES('exec:concurrent','pending',NULL,'eyJmdW5jIjoidGVzdHMucmVwbGF5Lm9sZF9mdW5jdGlvbnM6OmNvbmN1cnJlbnQiLCJhcmdzIjpbXSwia3dhcmdzIjp7fSwidmVyc2lvbiI6MX0=',NULL,NULL,'{"resonate:scope":"global","resonate:target":"poll://any@default","resonate:origin":"exec","resonate:branch":"exec:concurrent","resonate:parent":"exec:concurrent","durable:function":"tests.replay.old_functions::concurrent@1","durable:arguments":"c105a9e36c7c61235ce4a95f565998c7","durable:nonce":"61042b3b0a9845b387c694160a878800"}',9007199254740991,1796011826979,NULL,1,NULL,NULL,NULL);
INSERT INTO promises VALUES('exec:concurrent.1','resolved',NULL,NULL,NULL,'ImEi','{"resonate:scope":"local","resonate:branch":"exec:concurrent","resonate:parent":"exec:concurrent","resonate:origin":"exec","durable:kind":"step","durable:name":"note","durable:digest":"63973c758eae5a2f950a5c15d5a1177d"}',9007199254740991,1796011826996,1796011826997,0,'exec:concurrent',NULL,NULL);
INSERT INTO promises VALUES('exec:concurrent.2','resolved',NULL,NULL,NULL,'ImIi','{"resonate:scope":"local","resonate:branch":"exec:concurrent","resonate:parent":"exec:concurrent","resonate:origin":"exec","durable:kind":"step","durable:name":"note","durable:digest":"f26c8b2b72a545753a1654cb549bb0af","durable:concurrent":"1"}',9007199254740991,1796011826996,1796011826997,0,'exec:concurrent',NULL,NULL);
INSERT INTO promises VALUES('exec:concurrent:input:1','pending',NULL,'eyJxdWVzdGlvbiI6ImdvPyIsImhhc19kZWZhdWx0IjpmYWxzZX0=',NULL,NULL,'{"resonate:scope":"global","resonate:branch":"exec:concurrent:input:1","resonate:parent":"exec","resonate:origin":"exec","resonate:external":"true","durable:kind":"input","durable:name":"input","durable:digest":"8e6d35dd0374f2a2c3f66661eb90ee22","durable:scope":"concurrent","durable:capability":"input","durable:execution":"exec:concurrent","durable:concurrent":"1"}',9007199254740991,1796011827011,NULL,1,NULL,'input',NULL);
INSERT INTO promises VALUES('exec:nested','pending',NULL,'eyJmdW5jIjoidGVzdHMucmVwbGF5Lm9sZF9mdW5jdGlvbnM6Om5lc3RlZF9vbGQiLCJhcmdzIjpbXSwia3dhcmdzIjp7fSwidmVyc2lvbiI6MX0=',NULL,NULL,'{"resonate:scope":"global","resonate:target":"poll://any@default","resonate:origin":"exec","resonate:branch":"exec:nested","resonate:parent":"exec:nested","durable:function":"tests.replay.old_functions::nested_old@1","durable:arguments":"c105a9e36c7c61235ce4a95f565998c7","durable:nonce":"149bb73ce88846c68ebf25e1a8bfab5b"}',9007199254740991,1796011826960,NULL,1,NULL,NULL,NULL);
INSERT INTO promises VALUES('exec:nested.1','pending',NULL,NULL,NULL,NULL,'{"resonate:scope":"local","resonate:branch":"exec:nested","resonate:parent":"exec:nested","resonate:origin":"exec","durable:kind":"step","durable:name":"inner","durable:digest":"134839997f787708fe5237f545ade9de"}',9007199254740991,1796011826979,NULL,0,'exec:nested',NULL,NULL);
INSERT INTO promises VALUES('exec:nested.1.1','resolved',NULL,NULL,NULL,'Ingi','{"resonate:scope":"local","resonate:branch":"exec:nested.1","resonate:parent":"exec:nested.1","resonate:origin":"exec","durable:kind":"step","durable:name":"note","durable:digest":"f104cff8fe9637b8c323095a2bc7a137"}',9007199254740991,1796011826995,1796011826996,0,'exec:nested.1',NULL,NULL);
INSERT INTO promises VALUES('exec:nested:input:1','pending',NULL,'eyJxdWVzdGlvbiI6Ing/IiwiaGFzX2RlZmF1bHQiOmZhbHNlfQ==',NULL,NULL,'{"resonate:scope":"global","resonate:branch":"exec:nested:input:1","resonate:parent":"exec","resonate:origin":"exec","resonate:external":"true","durable:kind":"input","durable:name":"input","durable:digest":"00d281e5dacaa69d3dd1942429bbb60a","durable:scope":"nested.1","durable:capability":"input","durable:execution":"exec:nested"}',9007199254740991,1796011827008,NULL,1,NULL,'input',NULL);
INSERT INTO promises VALUES('exec:sequential','pending',NULL,'eyJmdW5jIjoidGVzdHMucmVwbGF5Lm9sZF9mdW5jdGlvbnM6OnNlcXVlbnRpYWwiLCJhcmdzIjpbXSwia3dhcmdzIjp7fSwidmVyc2lvbiI6MX0=',NULL,NULL,'{"resonate:scope":"global","resonate:target":"poll://any@default","resonate:origin":"exec","resonate:branch":"exec:sequential","resonate:parent":"exec:sequential","durable:function":"tests.replay.old_functions::sequential@1","durable:arguments":"c105a9e36c7c61235ce4a95f565998c7","durable:nonce":"b172ceabf4584df1af565d95906b1e94"}',9007199254740991,1796011826942,NULL,1,NULL,NULL,NULL);
INSERT INTO promises VALUES('exec:sequential.1','resolved',NULL,NULL,NULL,'ImEi','{"resonate:scope":"local","resonate:branch":"exec:sequential","resonate:parent":"exec:sequential","resonate:origin":"exec","durable:kind":"step","durable:name":"note","durable:digest":"63973c758eae5a2f950a5c15d5a1177d"}',9007199254740991,1796011826960,1796011826961,0,'exec:sequential',NULL,NULL);
INSERT INTO promises VALUES('exec:sequential.2','resolved',NULL,NULL,NULL,'ImIi','{"resonate:scope":"local","resonate:branch":"exec:sequential","resonate:parent":"exec:sequential","resonate:origin":"exec","durable:kind":"step","durable:name":"note","durable:digest":"f26c8b2b72a545753a1654cb549bb0af"}',9007199254740991,1796011827199,1796011827200,0,'exec:sequential',NULL,NULL);
INSERT INTO promises VALUES('exec:sequential.3','resolved',NULL,NULL,NULL,NULL,'{"resonate:scope":"global","resonate:target":"poll://any@default","resonate:branch":"exec:sequential.3","resonate:parent":"exec:sequential","resonate:origin":"exec","resonate:timer":"true","durable:kind":"sleep","durable:name":"sleep","durable:digest":"10dcc0e39c34967ed18d2efe6d189029"}',1796011827221,1796011827211,1796011827221,1,NULL,NULL,NULL);
INSERT INTO promises VALUES('exec:sequential:input:1','rejected_timedout',NULL,'eyJxdWVzdGlvbiI6ImZpcnN0PyIsImRlZmF1bHQiOiJsYXRlIiwiaGFzX2RlZmF1bHQiOnRydWV9',NULL,NULL,'{"resonate:scope":"global","resonate:branch":"exec:sequential:input:1","resonate:parent":"exec","resonate:origin":"exec","resonate:external":"true","durable:kind":"input","durable:name":"input","durable:digest":"3e943de651612e993808cc672773e354","durable:scope":"sequential","durable:capability":"input","durable:execution":"exec:sequential"}',1796011827180,1796011826985,1796011827180,1,NULL,'input',NULL);
INSERT INTO promises VALUES('exec:sequential:input:2','pending',NULL,'eyJxdWVzdGlvbiI6Imxhc3Q/IiwiaGFzX2RlZmF1bHQiOmZhbHNlfQ==',NULL,NULL,'{"resonate:scope":"global","resonate:branch":"exec:sequential:input:2","resonate:parent":"exec","resonate:origin":"exec","resonate:external":"true","durable:kind":"input","durable:name":"input","durable:digest":"07ac2b3a52af90bd9423831c31d91460","durable:scope":"sequential","durable:capability":"input","durable:execution":"exec:sequential"}',9007199254740991,1796011827239,NULL,1,NULL,'input',NULL);
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
INSERT INTO tasks VALUES('exec:concurrent','suspended',1,NULL,NULL,NULL,NULL,0,0,'default',NULL,0,'tests.replay.old_functions::concurrent@1',NULL,NULL,0,0,0,1,NULL,NULL,1796011826979);
INSERT INTO tasks VALUES('exec:nested','suspended',1,NULL,NULL,NULL,NULL,0,0,'default',NULL,0,'tests.replay.old_functions::nested_old@1',NULL,NULL,0,0,0,1,NULL,NULL,1796011826960);
INSERT INTO tasks VALUES('exec:sequential','suspended',3,NULL,NULL,NULL,NULL,0,0,'default',NULL,0,'tests.replay.old_functions::sequential@1',NULL,NULL,0,0,0,1,NULL,NULL,1796011826942);
INSERT INTO tasks VALUES('exec:sequential.3','fulfilled',0,NULL,NULL,NULL,NULL,0,0,'default',NULL,0,'',NULL,NULL,1,0,0,0,NULL,NULL,1796011827211);
CREATE TABLE callbacks (
    awaited TEXT NOT NULL,
    awaiter TEXT NOT NULL,
    PRIMARY KEY (awaited, awaiter)
) WITHOUT ROWID;
INSERT INTO callbacks VALUES('exec:concurrent:input:1','exec:concurrent');
INSERT INTO callbacks VALUES('exec:nested:input:1','exec:nested');
INSERT INTO callbacks VALUES('exec:sequential:input:2','exec:sequential');
CREATE TABLE listeners (
    awaited TEXT NOT NULL,
    address TEXT NOT NULL,
    PRIMARY KEY (awaited, address)
) WITHOUT ROWID;
CREATE TABLE outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    address    TEXT NOT NULL,
    message    TEXT NOT NULL,
    created_at INTEGER NOT NULL
);
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
CREATE TABLE cells (
    session TEXT NOT NULL,
    n       INTEGER NOT NULL,
    promise TEXT NOT NULL,
    settled INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (session, n)
) WITHOUT ROWID;
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
, by_code INTEGER NOT NULL DEFAULT 0);
CREATE TABLE checkpoint_uses (
    checkpoint INTEGER NOT NULL,
    digest     TEXT NOT NULL,
    PRIMARY KEY (checkpoint, digest)
) WITHOUT ROWID;
CREATE TABLE chunks (
    digest TEXT PRIMARY KEY,
    data   BLOB NOT NULL
);
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
CREATE TABLE rewinds (
    execution TEXT NOT NULL,
    n         INTEGER NOT NULL,       -- grows by one with each cut
    start     INTEGER NOT NULL,       -- what was printed from this character on is gone, and may be printed anew
    PRIMARY KEY (execution, n)
) WITHOUT ROWID;
DELETE FROM sqlite_sequence;
CREATE INDEX promises_deadline ON promises (timeout_at) WHERE state = 'pending' AND timeout_at < 9007199254740991;
CREATE INDEX promises_branch ON promises (branch) WHERE branch IS NOT NULL;
CREATE INDEX promises_asked ON promises (capability, created_at) WHERE state = 'pending' AND capability IS NOT NULL;
CREATE INDEX tasks_due ON tasks (due, grp, function) WHERE state = 'pending' AND due IS NOT NULL;
CREATE INDEX tasks_lease ON tasks (lease_at) WHERE state = 'acquired';
CREATE INDEX tasks_created ON tasks (created_at, id);
CREATE INDEX callbacks_awaiter ON callbacks (awaiter);
CREATE INDEX outbox_address ON outbox (address);
CREATE INDEX schedules_next ON schedules (next_run_at);
CREATE INDEX sessions_owner ON sessions (owner) WHERE owner IS NOT NULL;
CREATE INDEX cells_open ON cells (session, n) WHERE settled = 0;
CREATE INDEX checkpoints_session ON checkpoints (session, id);
CREATE INDEX checkpoint_uses_digest ON checkpoint_uses (digest);
CREATE INDEX audit_who ON audit (who, id);
CREATE INDEX audit_at ON audit (at);
COMMIT;
