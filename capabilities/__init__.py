"""Capabilities and prompts to people, for which code may ask, and the rules about both."""
