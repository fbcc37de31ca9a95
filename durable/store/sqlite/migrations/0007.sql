-- Version 7: actors (specs/actors.md). Their mail is cells of a session of the same name.

CREATE TABLE actors (
    name        TEXT PRIMARY KEY,      -- actor~<class>~<key>
    kind        TEXT NOT NULL,         -- its class
    key         TEXT NOT NULL,         -- as its users write it
    status      TEXT NOT NULL,         -- running, stopped, failed
    note        TEXT NOT NULL,         -- why it is not running
    state       TEXT,                  -- JSON object; NULL before the first save
    version     INTEGER NOT NULL,      -- of its class, at the last save
    saved       INTEGER NOT NULL,      -- grows with every save
    restarts    TEXT NOT NULL,         -- JSON: those that still count
    restarted   INTEGER NOT NULL,      -- how often it was restarted
    parent      TEXT,                  -- its supervisor
    place       INTEGER NOT NULL,      -- among the children of that, in start order
    created_at  INTEGER NOT NULL,
    updated_at  INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX actors_parent ON actors (parent, place) WHERE parent IS NOT NULL;

-- Mail that no turn answered, and why.
CREATE TABLE dead_letters (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    actor   TEXT NOT NULL,
    promise TEXT NOT NULL,             -- '' for a message that was refused when it was sent
    message TEXT NOT NULL,             -- the promise's param, as it was sent
    reason  TEXT NOT NULL,
    at      INTEGER NOT NULL
);

CREATE INDEX dead_letters_actor ON dead_letters (actor, id);

CREATE TABLE subscriptions (
    pattern TEXT NOT NULL,
    actor   TEXT NOT NULL,
    method  TEXT NOT NULL,
    PRIMARY KEY (pattern, actor)
) WITHOUT ROWID;
