"""Durable functions: identity, context, steps, the record of an execution, and the seam to resonate-sdk."""
