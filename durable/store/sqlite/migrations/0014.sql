-- Version 14: deployments (specs/versions.md).

-- A deployment that an engine joined as. `turn` orders them: new work goes to the highest that serves its function.
CREATE TABLE deployments (
    name       TEXT PRIMARY KEY,
    turn       INTEGER NOT NULL,
    functions  TEXT NOT NULL,          -- JSON array of where::name@version: all that its engines have served
    created_at INTEGER NOT NULL,
    joined_at  INTEGER NOT NULL        -- when an engine of it joined last
) WITHOUT ROWID;

-- For each function the deployment that its new executions go to.
CREATE TABLE deployment_routes (
    function   TEXT PRIMARY KEY,
    deployment TEXT NOT NULL,
    turn       INTEGER NOT NULL        -- that deployment's
) WITHOUT ROWID;

-- '' where it has none
ALTER TABLE engines ADD COLUMN deployment TEXT NOT NULL DEFAULT '';
-- the deployment whose engines run it; '' for those of none; NULL: not decided, or begun by an engine of none
ALTER TABLE tasks ADD COLUMN deployment TEXT;
CREATE INDEX tasks_deployment ON tasks (deployment, listed, created_at, id)
    WHERE deployment IS NOT NULL AND deployment <> '' AND listed IS NOT NULL;
