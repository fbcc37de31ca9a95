"""Every limit in one place, with its reason. Units are last in the names."""

from __future__ import annotations

VALUE_BYTES_MAX = 16 * 2**20
"""One promise's param or value. SQLite takes more, but every reader decodes a value whole."""

INLINE_CHARS_MAX = 2**20 * 4 // 3
"""A value's data, base64, that stands in its row: 1 MiB. A row that is longer slows down whatever reads beside it."""

VALUE_DEPTH_MAX = 250
"""Levels of lists and dicts in a value: what pydantic writes, and every reader follows without running out of stack."""

INT_BITS_MAX = 4096
"""A whole number as JSON; larger ones are in the notation of specs/execution.md. Readers refuse 4,300 digits."""

FRAME_BYTES_MAX = 10 * 2**20
"""One frame between bridge and worker (requirement P33); larger values span frames."""

MESSAGE_BYTES_MAX = 4 * 2**30
"""One message that spans frames: a checkpoint of a large namespace."""

PLAIN_BYTES_MAX = 64 * 2**20
"""Any other message of a worker: four times what a promise takes. Only namespaces are larger."""

LEASE_MS = 30_000
"""How long a task stays with an engine that has stopped renewing it, where its lock cannot tell."""

HEARTBEAT_MS = 10_000
"""How often leases of a store elsewhere are renewed: three beats fit into a lease."""

LEASE_ASK_MS = 10_000
"""How long a lease that ran out goes on while its engine, which lives here, is asked whether it still runs the task."""

CLOCK_BACK_MS = 1_000
"""How far the clock may be behind the store's time, which waits for it then. One further behind was set back: the store
follows it."""

OPEN_UNHEARD_S = 10.0
"""How long `durable.open(URL)` waits for the server: it is there, or somebody has to start it."""

REQUEST_UNHEARD_S = 30.0
"""How long a call waits for a server that says nothing at all: longer than a restart takes. What an engine has to
record waits for the server as long as the engine lives."""

WAIT_UNHEARD_S = 120.0
"""How long whoever waits for a result is not told that the server cannot be reached."""

CONNECT_S = 5.0
"""For connecting to a server: what does not answer within that is not there, or its network is not."""

DISCARDS_KEPT = 20
"""Results thrown away that an execution shows: the newest. Each was an engine that had lost its lease."""

EXECUTION_TAGS_MAX = 64
TAG_NAME_CHARS_MAX = 64
TAG_VALUE_CHARS_MAX = 256
"""Tags are words that executions are found by: an index holds them whole."""

SIGNALS_OPEN_MAX = 10_000
"""Signals of one name that nobody has taken: more is a sender that nobody listens to."""

SIGNAL_NAME_CHARS_MAX = 200
"""A signal's name: a word that both sides know, not data."""

OPERATION_NAME_CHARS_MAX = 20_000
"""The name of a step or another operation: its tags have room for it."""

DEPLOYMENT_CHARS_MAX = 128
"""A deployment's name: a version, a digest, a tag of an image."""

QUEUE_NAME_CHARS_MAX = 160
QUEUE_KEY_CHARS_MAX = 256
"""A queue's name and the keys in it: words that people read, and that indexes hold whole."""

SCHEDULE_TICKS_MAX = 10_000
"""Ticks that one request makes up for, or shows: of every minute a week."""

QUEUE_PRIORITY_MAX = 1_000
"""The highest priority, and, negative, the lowest: each is a line of its own."""

QUEUE_RATE_MAX = 1_000_000
QUEUE_RATE_S_MAX = 31 * 24 * 3600
"""Of a rate, the count, of which each start is a row, and the time: a month."""

QUEUE_AHEAD_MS = 500
"""How long before the rate of a queue lets an execution begin it gets its place. A look at the store that is late by
less does not make the rate slower; longer than that is nobody's place held who could not begin soon."""

QUEUE_LOOK_S = 1.0
"""How often whoever drains a queue looks at it when nothing tells that it changed."""

QUEUE_ENTRIES_MAX = 10_000_000
"""Executions that stand in one queue: some GB. More is a sender that nobody keeps up with."""

STREAM_NAME_CHARS_MAX = 200
"""The name of a stream, and the key of a published value: words that both sides know."""

PATCH_NAME_CHARS_MAX = 200
"""The name of a patch: a word of the code."""

COMPRESS_BYTES_MIN = 1_024
"""A shorter value is not compressed: it would hardly be smaller."""

RETURNED_MS = 1_000
"""Delay before a task is dispatched again that an engine handed back because it cannot run it: nothing is counted."""

TASKS_MAX = 256
"""Executions that one engine runs at a time. Waiting ones hold no place."""

BEGUN_ROWS = 200
"""Promises recorded under an execution that come with its lease, so that its pass need not ask for them; more are asked
for in pages. Some ten KB, and a transaction may give many leases."""

DRAIN_LOOK_S = 0.05
"""How often an engine that drains looks whether all that it ran has ended; nothing tells it."""

ATTEMPTS_FAILED_MAX = 3
"""Attempts without progress before `lost`, when the function or the worker failed by itself."""

ATTEMPTS_DIED_MAX = 10
"""Attempts without progress before `lost`, when the engine died."""

OUTSIDE_TASKS_MAX = 10_000
"""Tasks of a Resonate server of which a process remembers failed attempts, and executions that it knows: some MB."""

LISTEN_AGAIN_S = 15.0
"""Between two looks at what is awaited on a Resonate server, whose messages may be lost."""

RETRY_FIRST_MS = 50
RETRY_MAX_MS = 60_000
"""Delay before a released task is dispatched again: doubling, from the first to the largest."""

HANDSHAKE_S = 60.0
"""Guard on a worker's hello, a checkpoint and a restore; nothing else has one unless asked (D20)."""

PARKED_S = 30.0
"""How long a worker whose code waits for an answer stays in memory."""

IDLE_S = 300.0
"""How long a worker without work stays in memory; its session is restored when it is needed again."""

INTERRUPT_GRACE_S = 0.5
"""Between the first SIGINT and the second, and between the second and SIGKILL."""

OUTPUT_CHUNK_BYTES_MAX = 64 * 2**10
"""One output message; longer writes are split (requirement P39)."""

OUTPUT_QUEUE_MAX = 1_024
"""Output messages that wait in a worker whose code does not (P39): at most 64 MiB at the largest size."""

OUTPUT_DRAIN_MS = 5_000
"""How long the end of an execution waits for its output to be taken (requirement P36)."""

OUTPUT_STORED_CHARS_MAX = 16 * 2**20
"""Output of one execution that is kept; a person reads less, and a flood must not fill the disk."""

EARLIER_CHARS_MAX = 10_000
"""Of what threads and tasks printed between two executions, shown with the later one; all of it is in the record."""

PRINTED_CHARS_MAX = 32 * 2**10
"""Of a cell's output that a durable function gets in its Result: the end of it, recorded with the value."""

FAILURES_MAX = 100
"""Threads and tasks that one execution reports as failed; each one's traceback is in the output."""

COMPLETIONS_MAX = 500
"""Completions that are offered for a name that is being typed; nobody reads more."""

WARNINGS_MAX = 100
"""Recorded of one execution; a table of blocking calls meets few."""

REPR_CHARS_MAX = 10_000
"""A result's repr, cut in the middle when longer."""

REPR_S = 2.0
"""Seconds that a repr with code of the user's own may take: people wait for it after each cell."""

DISPLAY_CHARS_MAX = 2**20
"""One displayed bundle as JSON, a figure's picture as base64 in it: a page of a notebook, not a data set."""

DISPLAYS_MAX = 1_000
"""Bundles of one execution; more are recorded as their plain text only."""

ERROR_CHARS_MAX = 64 * 2**10
"""A recorded failure's message, and its traceback: cut in the middle when longer, so that it can be recorded."""

PROMPT_CHARS_MAX = 1_000
"""A prompt's question (requirement P75); longer text belongs into its context."""

CHOICES_MAX = 1_000
"""Choices that one question offers: more is a search, not a choice."""

ANSWERER_CHARS_MAX = 200
WHY_CHARS_MAX = 10_000
"""Characters of who answered, and of why: shown beside every answer, and in the message of whoever comes second."""

APPROVERS_MAX = 100
"""Persons and teams that one question names: each answer is a record that the next one reads."""

STEP_THREADS_MAX = 64
"""Threads that run synchronous steps; more wait for a free one."""

ID_CHARS_MAX = 2_000
"""A promise, schedule or session id: the longest minted lineage, with room; it is a key in every index."""

TAGS_BYTES_MAX = 64 * 2**10
"""All tags of one promise as JSON: they are read with every record and are not the place for data."""

CANCEL_GRACE_S = 60.0
"""Seconds that a cancelled durable function has for its clean-up."""

DISPATCH_RETRY_MS = 5_000
"""A dispatched task that nobody acquired is offered again after this."""

NOTICE_POLL_S = 0.025
"""How often a store looks for commits of other processes whose notification was lost (the look costs microseconds)."""

ROOM_LOOK_S = 0.5
"""How often what waits for room on a full disk is tried again."""

LIVENESS_CHECK_S = 1.0
"""How often the locks of other engines are tried while there are any."""

LOG_PAGES_GOAL = 4_000
LOG_BYTES_GOAL = LOG_PAGES_GOAL * (4_096 + 24)
"""SQLite's log is written back into the file when it holds so many pages, and begun anew when no reader needs it."""

LOG_ROOM_BYTES_MIN = 64 * 2**10
LOG_ROOM_BYTES_MAX = 2**20
"""How far the log is lengthened at once: by as much as it has, so that a small store stays small. 1 MiB takes 1 ms."""

HELD_ELSEWHERE_MS = 50
"""How soon a deadline is looked at again whose execution another engine writes just now (PostgreSQL)."""

BUSY_WAIT_S = 30.0
"""How long a write waits for another process's transaction before it fails."""

OUTBOX_KEEP_MS = 3_600_000
"""A message for an address that nobody serves is dropped after this; the promise itself stays."""

CHECKPOINTS_KEPT = 2
"""Unlabelled checkpoints kept for each session: the newest, and one to go back to if it is damaged."""

CODE_LABELS_MAX = 100
"""Checkpoints of a session that stay because its code gave them a label: a loop may give one with every iteration."""

RECORD_PROMISES_MAX = 100_000
RECORD_BYTES_MAX = 256 * 2**20
"""Bytes of one imported record: it is written in one transaction, some seconds in which nothing else is."""

ALIAS_ROWS = 1_000
"""Executions that `durable alias` looks at in one transaction: some milliseconds in which nothing else is written."""

REKEY_ROWS = 1_000
REKEY_BYTES = 4 * 2**20
"""Rows that `durable keys` looks at in one transaction, and data of one answer: some milliseconds of the writer."""

SWEEP_ROWS = 100
"""Promises that `gc` looks at, or deletes, in one transaction: some milliseconds in which nothing else is written."""

CALLS_KEEP_MS = 86_400_000
"""`gc` leaves the calls of a run that has no promise of its own (`engine.sandbox.run`) so long after the last one: it
may still run."""

WRITE_CACHE_KIB = 16_000
"""Pages that the writing connection keeps. They are most of what an engine holds after much work of one session, which
may not be 64 MiB (tests/protocol/hostile_worker); the system's own cache has the rest of the file. With 64 MB 2,000
executions in a store of 300,000 take as much processor time (1 % more; ids in order, or all over the file)."""

READ_CACHE_KIB = 8_000
"""Pages that the reading connection keeps, where there are so many: with SQLite's own 2,000 KiB a list in a store of
1,000,000 executions reads the same ones again and again."""

SEARCH_ROWS = 1_000
"""Rows that the writer looks at for one search: about a millisecond in which nothing else is written."""

SEARCH_ROWS_READ = 10_000
"""The same at a time on the reading connection: some 20 ms in which nobody else reads."""

EXPIRY_LOOK_S = 600
"""How often engines forget executions whose time is over: retention is counted in hours and days."""

BLOB_GRACE_S = 3_600
"""A blob that nothing refers to stays so long after it was put: its checkpoint may be on its way.
Engines sweep as often."""

UPKEEP_WAIT_S = 30.0
"""How long `gc` and `backup` wait for another upkeep of the same store: an engine's own sweep takes seconds at most."""

DISK_FREE_BYTES_MIN = 256 * 2**20
"""`doctor` warns below: a checkpoint of a large namespace and the log of a busy hour."""

BODY_BYTES_MAX = 2 * VALUE_BYTES_MAX
"""One request over HTTP: a param or value of the largest size, with its envelope, tags and escapes."""

BATCH_BYTES_MAX = 128 * 2**20
"""An engine's batch over HTTP: a checkpoint's manifest of the largest size, as base64, with its small chunks."""

BODIES_BYTES_MAX = 512 * 2**20
"""All bodies that a server holds while it reads them: what a small machine can spare."""

HTTP_HEAD_BYTES_MAX = 32 * 2**10
"""Request line and headers: ids in paths are at most ID_CHARS_MAX, the rest is small."""

CONNECTIONS_MAX = 4_096
"""Open connections of a server: each costs a descriptor and some 20 KiB. More evict idle ones."""

REQUESTS_PER_S_MAX = 5_000
REQUESTS_BURST_MAX = 10_000
"""Requests of one address: more than a server of one process can answer today, so only floods meet it."""

RATE_WAIT_S = 5.0
"""How long a request over the rate is delayed before it is refused: delay slows a flood, refusal breaks clients."""

FIRST_REQUEST_S = 10.0
"""From connecting to the end of the first request's headers."""

CONNECTION_IDLE_S = 30.0
"""From an answer to the end of the next request's headers: longer than clients keep connections (4 to 15 s)."""

BODY_S = 60.0
"""For reading one request's body: the largest at 2 MiB/s."""

UNREAD_S = 60.0
"""How long a client may leave what it was sent unread."""

CLOSING_S = 5.0
"""From closing a connection to dropping it."""

POLL_S = 240.0
"""The length of an event stream: the SDK's client breaks off at 300 s and does not come back."""

POLL_AGAIN_S = 5.0
"""How long a stream's address is kept for its client after the stream ended by its age: SDKs come back within 1 s."""

POLL_BEAT_S = 10.0
"""Between two comments on a silent stream: shows both sides a dead connection, three times in a lease."""

POLL_QUEUE_MAX = 10_000
"""Messages kept for a client that does not read its stream. Work among them is offered again."""

AWAITED_MAX = 100_000
"""Promises that one remote client waits for."""

SHUTDOWN_S = 5.0
"""How long a server that was asked to end waits for requests under way."""

HTTP_WAIT_S_MAX = 55.0
"""How long a read over HTTP waits for something new: clients and proxies give up after 60 s."""

HTTP_STREAM_ITEMS_MAX = 1_000
"""Items of a stream in one answer."""

REMIND_S_MIN = 0.1
"""Between two reminders of a question, however often one was asked for."""

NOTICE_WAIT_S = 60.0
"""How long channels rely on being told of changes before they look again: clocks are set, stores cannot be reached."""

NOTICE_PAUSE_FACTOR = 4
NOTICE_PAUSE_S_MAX = 1.0
"""A channel rests this many times as long as its look at the open questions took: looking is a fifth of its time."""

POST_LEASE_MS = 30_000
"""How long a process that took a message for a listener's URL may be at it, before another one sends it too."""

POST_KEEP_MS = 86_400_000
"""A message that a listener's URL has not taken for this long is dropped; the promise itself stays."""

POST_LOOK_S = 30.0
"""Between two looks for messages to URLs when nothing is known to be due: another process may have died with one."""

POST_PAUSE_S = 1.0
"""Between two looks because others committed something: a look is a request to the writer."""

WEBHOOK_S = 10.0
"""How long a webhook's receiver may take to answer."""

WEBHOOK_RETRY_S_MAX = 300.0
"""The longest wait before a webhook that was not taken is sent again."""

WEBHOOK_NOTIFIES_MAX = 1_000
"""Notifications of code that a webhook has not taken yet; more are dropped. Questions are never dropped."""

WEBHOOK_SENDS_MAX = 8
"""Requests to one webhook at once."""

MCP_WAIT_S = 45.0
MCP_WAIT_S_MAX = 55.0
"""How long a call of an MCP tool waits for an execution: clients and proxies give up after 60 s."""

MCP_GRACE_S = 3.0
"""What a call may take beside its waiting; then it is told that the engine is too busy."""

MCP_TASK_AFTER_S = 1.0
"""How long a call waits before it becomes a task, for clients that know tasks: what is quick needs none."""

MCP_TASK_POLL_MS = 1_000
"""How often clients are told to look at a task: as often as people notice."""

MCP_LOOK_REST_S = 0.02
"""Between two looks of a waiting call at a store that changes all the time."""

MCP_CODE_CHARS_MAX = 1_000_000
"""Code of one call: a file that a person wrote; data belongs elsewhere."""

MCP_SANDBOX_CODE_CHARS_MAX = 100_000
"""Code for a sandbox (requirement W14: 100 KB)."""

MCP_OUTPUT_CHARS_MAX = 30_000
"""Text of one result, about 8,000 tokens: what a model can take in. `output` reads the rest."""

MCP_IMAGES_MAX = 8
MCP_IMAGE_CHARS_MAX = 2 * 2**20
"""Pictures of one result, as base64, and the size of each: models take few, and scale larger ones down."""

MCP_ITEMS_MAX = 200
"""Sessions, variables or questions in one list."""

MCP_CALLS_MAX = 1_000
"""Calls of all clients at once; more are told to come again."""

MCP_BODY_BYTES_MAX = 8 * 2**20
"""One request over HTTP: the longest code, each character an escape, with its envelope."""

MCP_ANSWER_S = 7 * 86_400.0
"""How long the state of a question that a client holds stays valid: people answer after a weekend."""

MCP_SESSION_IDLE_S = 3_600.0
"""How long a connection of the older protocol may say nothing."""

CHARS_PER_TOKEN = 4
"""Bytes of a token, about, for models of today."""

MESSAGE_TOKENS_MIN = 4
"""What a message costs beside its text."""

CONTEXT_THRESHOLD_FACTOR = 0.8
"""The part of a model's window that a context fills (requirement G10): the rest is for the answer."""

CONTEXT_GOAL_FACTOR = 0.5
"""The part of the window to which a context is compacted, so that it is not compacted with every turn."""

CONTEXT_BYTES_MAX = 2**30
"""All messages and stages of one execution's contexts: a thousand times what a large window holds."""

SUMMARY_TRANSCRIPT_CHARS_MAX = 400_000
"""What a model is given to summarise: 100,000 tokens fit into the windows of today."""

SUMMARY_S = 120.0
"""How long a model may take for a summary."""

GRAPH_BYTES_MAX = 2**34
"""All checkpoints of one saver of LangGraph: what a disk can spare. `keep=` and `prune` make it small."""

AGENT_SESSION_BYTES_MAX = 2**34
"""All conversations of one name that agents keep: what a disk can spare."""

AGENT_SESSION_KEYS_MAX = 10_000
"""How often one conversation is added to: its keys are listed for each turn."""

SEARCH_PAGE_ROWS = 500
"""Executions that a search by text asks for at a time: a few hundred kilobytes."""

LOOKED_AT_ROWS_MAX = 20_000
"""Executions that one page of a search by text looks at: about a second of work. Its cursor goes on."""

COUNTED_ROWS_MAX = 10_000
"""Executions of one state that are counted: a count must not cost more the more there are. Metrics have them all."""
