"""The worker's socket, standard streams, displays."""
