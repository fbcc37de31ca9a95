"""Records turned into page models, without I/O: what a page says, its bars, its texts and its links."""
