"""Capturing a namespace in the worker, incrementally."""
