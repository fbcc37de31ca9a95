"""What knows the Resonate SDK: its private parts, the lease's fence, heartbeats, ports."""
