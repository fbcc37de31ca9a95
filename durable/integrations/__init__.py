"""The engine inside other tools and frameworks: each module needs an extra of its own, and nothing else loads it."""
