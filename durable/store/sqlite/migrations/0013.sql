-- Version 13: questions that are settled, by how and when (specs/http-api.md, P3).

CREATE INDEX promises_answered ON promises (state, settled_at, id) WHERE capability = 'input' AND settled_at IS NOT NULL;
