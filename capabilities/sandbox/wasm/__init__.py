"""WebAssembly modules and components: compiling, running, limits, WASI."""
