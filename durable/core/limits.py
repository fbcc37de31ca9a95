"""Every limit in one place, with its reason. Units are last in the names."""

from __future__ import annotations

VALUE_BYTES_MAX = 16 * 2**20
"""One promise's param or value. SQLite takes more, but every reader decodes a value whole."""

FRAME_BYTES_MAX = 10 * 2**20
"""One frame between bridge and worker (requirement P33); larger values span frames."""

MESSAGE_BYTES_MAX = 4 * 2**30
"""One message that spans frames: a checkpoint of a large namespace."""

LEASE_MS = 30_000
"""How long a task stays with an engine that has stopped renewing it, where its lock cannot tell."""

HEARTBEAT_MS = 10_000
"""How often leases are renewed: three beats fit into a lease."""

TASKS_MAX = 256
"""Executions that one engine runs at a time. Waiting ones hold no place."""

ATTEMPTS_FAILED_MAX = 3
"""Attempts without progress before `lost`, when the function or the worker failed by itself."""

ATTEMPTS_DIED_MAX = 10
"""Attempts without progress before `lost`, when the engine died."""

RETRY_FIRST_MS = 50
RETRY_MAX_MS = 60_000
"""Delay before a released task is dispatched again: doubling, from the first to the largest."""

HANDSHAKE_S = 60.0
"""Guard on a worker's hello, a checkpoint and a restore; nothing else has one unless asked (D20)."""

PARKED_S = 30.0
"""How long a worker whose code waits for an answer stays in memory."""

INTERRUPT_GRACE_S = 0.5
"""Between the first SIGINT and the second, and between the second and SIGKILL."""

OUTPUT_CHUNK_BYTES_MAX = 64 * 2**10
"""One output message; longer writes are split (requirement P39)."""

REPR_CHARS_MAX = 10_000
"""A result's repr, cut in the middle when longer."""

PROMPT_CHARS_MAX = 1_000
"""A prompt's question (requirement P75); longer text belongs into its context."""

STEP_THREADS_MAX = 64
"""Threads that run synchronous steps; more wait for a free one."""

ID_CHARS_MAX = 2_000
"""A promise, schedule or session id: the longest minted lineage, with room; it is a key in every index."""

TAGS_BYTES_MAX = 64 * 2**10
"""All tags of one promise as JSON: they are read with every record and are not the place for data."""

DISPATCH_RETRY_MS = 5_000
"""A dispatched task that nobody acquired is offered again after this."""

NOTICE_POLL_S = 0.025
"""How often a store looks for commits of other processes whose notification was lost (the look costs microseconds)."""

LIVENESS_CHECK_S = 1.0
"""How often the locks of other engines are tried while there are any."""

BUSY_WAIT_S = 30.0
"""How long a write waits for another process's transaction before it fails."""

OUTBOX_KEEP_MS = 3_600_000
"""A message for an address that nobody serves is dropped after this; the promise itself stays."""

CHECKPOINTS_KEPT = 2
"""Unlabelled checkpoints kept for each session: the newest, and one to go back to if it is damaged."""
