"""Requests and reads of the store as they travel."""
