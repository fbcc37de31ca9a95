"""Errors of actors: what happened, what was expected, what to do next."""

from __future__ import annotations

from durable.core.errors import DurableError


class ActorError(DurableError):
    """Root of what goes wrong with actors and their messages."""

    code = "ACTOR"


class MessagingError(ActorError):
    """A message could not be handed over; nothing of it arrives."""

    code = "MESSAGING"


class MailboxFull(MessagingError):
    """The mailbox holds as many messages as it may."""

    code = "MAILBOX_FULL"

    def __init__(self, actor: str, capacity: int) -> None:
        super().__init__(
            f"the mailbox of {actor} is full: {capacity} messages wait in it. Send again later, "
            "or give its class a larger mailbox"
        )
        self.actor = actor
        self.capacity = capacity


class MailboxClosed(MessagingError):
    """The mailbox takes no more messages: its actor has stopped."""

    code = "MAILBOX_CLOSED"

    def __init__(self, actor: str) -> None:
        super().__init__(f"the mailbox of {actor} is closed: the actor has stopped, and takes no more messages")
        self.actor = actor


class ActorUnhealthy(ActorError):
    """Its health checks failed as often in a row as its class allows; supervision decides what becomes of it."""

    code = "ACTOR_UNHEALTHY"

    def __init__(self, actor: str, reason: str) -> None:
        super().__init__(f"{actor} is unhealthy: {reason or 'its checks say so'}")
        self.actor = actor
        self.reason = reason


class RequestTimedOut(MessagingError, TimeoutError):
    """No response came in time; one that comes later is refused."""

    code = "REQUEST_TIMED_OUT"

    def __init__(self, target: str, timeout_s: float) -> None:
        super().__init__(f"{target} did not answer within {timeout_s:g} s; what it does goes on")
        self.target = target
        self.timeout_s = timeout_s


class DuplicateCorrelation(MessagingError):
    """Two requests of one correlation id: the answer could go to either."""

    code = "DUPLICATE_CORRELATION"

    def __init__(self, correlation_id: str) -> None:
        super().__init__(f"a request {correlation_id!r} waits already; give each its own correlation id")
        self.correlation_id = correlation_id


class UnknownCorrelation(MessagingError, LookupError):
    """A response to a request that nobody waits for: unknown, answered already, or too late."""

    code = "UNKNOWN_CORRELATION"

    def __init__(self, correlation_id: str) -> None:
        super().__init__(f"nobody waits for the answer to {correlation_id!r}: it is unknown, answered, or timed out")
        self.correlation_id = correlation_id


class BrokerNotConfigured(MessagingError):
    """An actor sends messages, and was spawned without a broker."""

    code = "BROKER_NOT_CONFIGURED"


class InvalidTopic(MessagingError, ValueError):
    """A topic or a pattern of topics that is none."""

    code = "INVALID_TOPIC"

    def __init__(self, topic: str, problem: str) -> None:
        super().__init__(
            f"{topic!r} is no topic: {problem}. A topic is words with dots between them, such as orders.paid; in a "
            "pattern `*` stands for one word, and `#`, at its end, for any number of them"
        )
        self.topic = topic


class CodecError(MessagingError, ValueError):
    """Bytes that are no frame of a known codec, or a value that a codec cannot write."""

    code = "CODEC"


class CodecMissing(CodecError):
    """The library of a codec is not installed."""

    code = "CODEC_MISSING"


class SupervisionError(ActorError):
    """A child could not be started, stopped or watched. `fatal`: its supervisor's supervisor has to decide."""

    code = "SUPERVISION"
    fatal = False


class RestartLimitExceeded(SupervisionError):
    """More restarts within the window than are allowed."""

    code = "RESTART_LIMIT_EXCEEDED"
    fatal = True

    def __init__(self, id: str, max_restarts: int, within_s: float) -> None:
        super().__init__(
            f"{id} failed again after {max_restarts} restarts within {within_s:g} s. Mend the cause, then restart it "
            f"by hand"
        )
        self.id = id
        self.max_restarts = max_restarts
        self.within_s = within_s


class TreeIntegrityViolation(SupervisionError):
    """Supervisors that would watch each other in a circle, or a child of two supervisors."""

    code = "TREE_INTEGRITY"
    fatal = True


class InvalidSupervision(SupervisionError, ValueError):
    """A policy, a strategy or a limit that makes no sense."""

    code = "INVALID_SUPERVISION"
    fatal = True


class AlreadySupervised(SupervisionError):
    """The child is supervised already."""

    code = "ALREADY_SUPERVISED"

    def __init__(self, id: str) -> None:
        super().__init__(f"{id} is supervised already; stop it before it is supervised anew")
        self.id = id


class NotSupervised(SupervisionError, LookupError):
    """No such child."""

    code = "NOT_SUPERVISED"

    def __init__(self, id: str) -> None:
        super().__init__(f"there is no child {id!r} here; register it with `supervise` first")
        self.id = id


class HealthCheckFailed(ActorError):
    """A health check said so, raised, or took too long."""

    code = "HEALTH_CHECK_FAILED"


class ActorNotReady(ActorError):
    """A message came before the actor was started, or after it was stopped."""

    code = "ACTOR_NOT_READY"

    def __init__(self, actor: str, state: str) -> None:
        super().__init__(f"{actor} is {state}, not ready: start it first")
        self.actor = actor
        self.state = state


class ActorStopped(ActorError):
    """The actor was stopped, or gave up after its restarts; its mail is among the dead letters."""

    code = "ACTOR_STOPPED"

    def __init__(self, actor: str, why: str = "") -> None:
        super().__init__(
            f"actor {actor} is stopped" + (f" ({why.rstrip('.')})" if why else "") + ": it takes no messages. "
            "`durable actor restart` lets it go on with its last saved state"
        )
        self.actor = actor
        self.why = why


class JournalFull(ActorError):
    """A component that never saved its state has had too many messages to be made again from them."""

    code = "JOURNAL_FULL"

    def __init__(self, actor: str, most: int) -> None:
        super().__init__(
            f"{actor} has taken {most} messages since it saved its state last, and no more are kept to make its "
            "instance again: let the component call `save` of durable:host/state, or begin anew with "
            "`durable actor restart --reset`"
        )
        self.actor = actor
        self.most = most


class ActorNotFound(ActorError, LookupError):
    """No actor of that name, and no class that could bring it into being."""

    code = "ACTOR_NOT_FOUND"

    def __init__(self, actor: str) -> None:
        super().__init__(
            f"there is no actor {actor}, and its class is not known here: import the module that defines the class, or "
            "look at the name"
        )
        self.actor = actor


class TooManyActors(ActorError):
    """As many actors as there may be are in memory."""

    code = "TOO_MANY_ACTORS"

    def __init__(self, most: int) -> None:
        super().__init__(f"{most} actors are in memory, and no more may be: stop one, or raise `actors_max`")
        self.most = most


class UnknownMethod(ActorError, AttributeError):
    """The actor's class has no such method that takes messages."""

    code = "UNKNOWN_METHOD"

    def __init__(self, actor: str, method: str, known: list[str]) -> None:
        super().__init__(f"{actor} has no method {method!r} that takes messages; it has {', '.join(known) or 'none'}")
        self.actor = actor
        self.method = method


class StateMismatch(ActorError):
    """A saved state does not fit its class any more."""

    code = "STATE_MISMATCH"

    def __init__(self, actor: str, problem: str) -> None:
        super().__init__(
            f"the saved state of {actor} does not fit its class: {problem}. Raise the class's version and give it a "
            "`migrate(state, version)` that returns the state as it is now"
        )
        self.actor = actor


class ActorCycle(ActorError):
    """Actors that would wait for each other for ever."""

    code = "ACTOR_CYCLE"

    def __init__(self, chain: list[str]) -> None:
        super().__init__(
            f"{' -> '.join(chain)}: an actor that waits for an answer takes no other message, so this would wait for "
            "ever. Send with `tell`, or let the last of them answer from what it was given"
        )
        self.chain = chain
