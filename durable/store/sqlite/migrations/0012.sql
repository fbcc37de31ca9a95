-- Version 12: what an actor leaves is found by an index when it is deleted, and old dead letters by their time.

CREATE INDEX dead_letters_at ON dead_letters (at, id);
CREATE INDEX subscriptions_actor ON subscriptions (actor);
