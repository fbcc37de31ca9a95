"""Starting workers: the pool, the zygote that forks them, the circuit breaker."""
