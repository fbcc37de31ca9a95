"""The names of the standard capabilities: what code expects to be there."""

STANDARD_NAMES = frozenset(
    {
        "input", "ask", "choose", "approve", "review", "now", "sleep", "random", "uuid", "read_file", "write_file",
        "delete_file", "list_files", "env", "fetch", "query", "notify", "websocket", "kv", "run_function",
        "spawn_session", "process", "messaging",
    }
)  # fmt: skip
