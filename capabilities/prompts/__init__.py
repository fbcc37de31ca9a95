"""Questions to people: the prompt, the form's fields, the rules of an answer."""
