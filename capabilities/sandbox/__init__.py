"""Foreign code, metered and denied by default: WebAssembly, and what runs in it (specs/sandbox.md)."""
