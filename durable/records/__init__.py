"""The forms of what is recorded: values, their notation and encoding."""
