"""The store: promises in one SQLite file, shared by processes (specs/store.md). Its face is `store.Store`."""
