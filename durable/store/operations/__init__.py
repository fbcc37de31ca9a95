"""The operations of the store, one subject a file, inside a transaction."""
