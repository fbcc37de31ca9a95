"""The store's contract: an in-memory oracle of the protocol, and seeded streams that compare it with the store."""
