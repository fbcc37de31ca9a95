"""The store in one SQLite file: writer, reads, locks of engines, notices between processes."""
