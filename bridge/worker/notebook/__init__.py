"""A worker whose code is shown in a notebook: its front end's questions, widgets, IPython's functions (specs/jupyter.md)."""
