"""An execution as its user sees it: the handle, and views of its row."""
