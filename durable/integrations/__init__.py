"""Agent frameworks on durable execution: each module needs its framework, and nothing else loads it."""
