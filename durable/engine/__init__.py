"""The engine: opening and closing, executions, capabilities, news of changes."""
