"""The protocol between engine and worker: framing, messages, states, limits of output."""
