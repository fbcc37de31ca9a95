"""Sessions: who owns one, how a cell becomes an execution, how it goes on after a crash."""
