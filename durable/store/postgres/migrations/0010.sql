-- Version 10: deployments (specs/versions.md). The columns are those of SQLite's 0014.

CREATE TABLE deployments (
    name       text COLLATE "C" PRIMARY KEY,
    turn       bigint NOT NULL,
    functions  text NOT NULL,
    created_at bigint NOT NULL,
    joined_at  bigint NOT NULL
);
CREATE TABLE deployment_routes (
    function   text COLLATE "C" PRIMARY KEY,
    deployment text COLLATE "C" NOT NULL,
    turn       bigint NOT NULL
);

ALTER TABLE engines ADD COLUMN deployment text COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE tasks ADD COLUMN deployment text COLLATE "C";
CREATE INDEX tasks_deployment ON tasks (deployment, listed, created_at, id)
    WHERE deployment IS NOT NULL AND deployment <> '' AND listed IS NOT NULL;
