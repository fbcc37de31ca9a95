"""HTML pages for people: the layout and the form of a question."""
