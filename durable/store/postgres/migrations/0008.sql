-- Version 8: what an actor leaves is found by an index when it is deleted. The indexes are those of SQLite's 0012.

CREATE INDEX dead_letters_at ON dead_letters (at, id);
CREATE INDEX subscriptions_actor ON subscriptions (actor);
