"""Pages of the documentation that are made from the code: the reference of public names, and of commands."""
