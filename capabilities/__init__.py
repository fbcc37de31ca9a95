"""What code may ask for: capabilities, prompts to people, and the rules about both."""
