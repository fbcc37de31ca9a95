"""The worker of a notebook: its front end's questions, widgets, functions of IPython (specs/jupyter.md)."""
