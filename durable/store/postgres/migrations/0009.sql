-- Version 9: questions that are settled, by how and when (specs/http-api.md, P3). The index is that of SQLite's 0013.

CREATE INDEX promises_answered ON promises (state, settled_at, id) WHERE capability = 'input' AND settled_at IS NOT NULL;
