"""JavaScript in a QuickJS that is itself WebAssembly (specs/javascript.md)."""
