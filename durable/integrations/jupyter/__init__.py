"""A Jupyter kernel whose variables live in a durable session (specs/jupyter.md). Needs the extra `jupyter`."""
