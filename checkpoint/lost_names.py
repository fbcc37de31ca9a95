"""Names that a checkpoint could not bring back: remembered until they are assigned again, explained when used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from checkpoint.format.payload import LostVariable
from durable.core.errors import CheckpointError


class LostValueError(CheckpointError, TypeError):
    """Code used something that no checkpoint could hold, and that a restore therefore did not bring back."""

    code = "LOST_VALUE"

    def __init__(self, value: LostValue) -> None:
        super().__init__(_told(value))
        self.reason = value._reason


class LostValue:
    """Stands in the place of something inside of a variable that could not be saved: `rows["connection"]`.

    It can be looked at, compared by identity, replaced and saved again. Any other use raises LostValueError.
    """

    __slots__ = ("_kind", "_reason")

    def __init__(self, kind: str, reason: str) -> None:
        self._kind = kind
        self._reason = reason

    def __repr__(self) -> str:
        return f"<lost {self._kind}: {self._reason}>"

    def __getattr__(self, name: str) -> object:
        if name.startswith(("__", "_repr_", "_ipython_")):
            raise AttributeError(name)
        raise LostValueError(self)

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        raise LostValueError(self)

    __hash__ = object.__hash__


def _told(value: LostValue) -> str:
    return (
        f"what was here, of type {value._kind}, was lost when the session was restored from a checkpoint: "
        f"{value._reason}. Make it again and put it in this place."
    )


def _use(value: LostValue, *_arguments: object, **_options: object) -> object:
    raise LostValueError(value)


_USES = (
    "call", "iter", "next", "aiter", "anext", "await", "enter", "exit", "aenter", "aexit", "len", "bool", "getitem",
    "setitem", "delitem", "contains", "int", "float", "index", "lt", "le", "gt", "ge", "ne", "fspath", "bytes",
    *(prefix + name for prefix in ("", "r") for name in (
        "add", "sub", "mul", "matmul", "truediv", "floordiv", "mod", "divmod", "pow", "lshift", "rshift", "and", "or",
        "xor",
    )),
    "neg", "pos", "invert", "abs", "round",
)  # fmt: skip
for _name in _USES:
    setattr(LostValue, f"__{_name}__", _use)


class LostNames:
    """The names that are missing from one namespace, with the reason. A worker has one (`LOST`)."""

    def __init__(self) -> None:
        self._names: dict[str, LostVariable] = {}

    def remember(self, lost: Iterable[LostVariable]) -> None:
        """Add names; a later entry of the same name replaces the earlier. Placeholders inside of variables stay out."""
        self._names.update((entry.name, entry) for entry in lost if entry.name.isidentifier())

    def forget(self) -> None:
        """Forget all names: the namespace was cleared."""
        self._names.clear()

    def still(self, namespace: Mapping[str, object]) -> list[LostVariable]:
        """The names that are still missing; those assigned in the meantime are dropped for good."""
        for name in [name for name in self._names if name in namespace]:
            del self._names[name]
        return list(self._names.values())

    def explain(self, name: str) -> str | None:
        """Why a name is not there, as one sentence; None when it was never lost."""
        entry = self._names.get(name)
        if entry is None:
            return None
        made = f" (made by execution {entry.execution})" if entry.execution else ""
        return (
            f"{name!r} was lost when the session was restored from a checkpoint{made}: {entry.reason}. Make it again,"
            " or restore with recompute=True (`durable checkpoint restore SESSION WHICH --recompute`)."
        )


LOST = LostNames()
"""The registry of this process: a worker holds one namespace."""


def explain_name_error(name: str) -> str | None:
    """The addition to the NameError of a name in this worker's namespace, or None."""
    return LOST.explain(name)
