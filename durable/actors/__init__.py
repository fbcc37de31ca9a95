"""Durable actors: a name with a mailbox, a state and one turn at a time, bound to the store (specs/actors.md)."""
