"""The host's requests about the namespace, answered between executions (specs/namespace.md)."""

from __future__ import annotations

import sys
from collections.abc import Callable

from bridge.worker.inbound import Wire
from bridge.worker.live_namespace import LiveNamespace, Refused
from bridge.worker.values import NotJson, to_json


def answer(namespace: LiveNamespace, request: Wire) -> Wire:
    """The reply to one `namespace` message; whatever goes wrong is in it, as `problem`."""
    actions: dict[str, Callable[[], object]] = {
        "values": lambda: namespace.values(request["names"]),
        "update": lambda: namespace.update(
            request["updates"], source=request["source"], strategy=request["strategy"], limits=request["limits"]
        ),
        "clear": lambda: _cleared(namespace),
        "variables": lambda: [list(one) for one in namespace.variables()],
        "sources": namespace.sources,
    }
    reply: Wire = {"type": "namespace_reply", "request": request["id"], "value": None, "problem": "", "exceeded": None}
    try:
        reply["value"] = to_json(actions[request["action"]]())
    except Refused as error:
        reply["problem"] = str(error)
        reply["exceeded"] = None if error.limit is None else list(error.limit)
    except NotJson as error:
        reply["problem"] = f"the answer cannot be sent: it has {error}"
    except BaseException as error:  # code of the user's own types runs in here
        reply["problem"] = f"{type(error).__qualname__}: {error}".encode(errors="replace").decode()
    return reply


def _cleared(namespace: LiveNamespace) -> list[str]:
    names = namespace.clear()
    lost = sys.modules.get("checkpoint.lost")
    if lost is not None:
        lost.LOST.forget()
    return names
