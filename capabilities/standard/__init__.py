"""The capabilities that come with the engine: files, fetch, query, processes and others."""
