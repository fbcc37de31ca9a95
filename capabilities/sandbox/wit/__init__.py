"""The host interfaces of components: `host.wit` is the source, `bindings.json` is made of it and checked in tests."""
