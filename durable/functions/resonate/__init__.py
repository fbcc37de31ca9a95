"""The parts that know the Resonate SDK: its private parts, the lease's fence, heartbeats, ports."""
