"""Agent frameworks, Jupyter and notebooks on durable execution: each needs its extra, and nothing else loads it."""
