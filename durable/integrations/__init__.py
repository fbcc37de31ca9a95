"""The engine inside other tools: thin, each with an extra of its own."""
