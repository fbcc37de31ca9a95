"""The pure core of actors: states, mailboxes, routing, supervision, health (specs/actors.md). No I/O, no clock."""
