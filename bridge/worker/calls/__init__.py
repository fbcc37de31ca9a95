"""Host calls as a cell makes them: capabilities and prompts."""
