"""An actor in Python, as componentize-py compiles it: it notes what it is told, saves that when asked to, and is
unwell after three lines in which nobody signs.
"""

import json

import wit_world
from componentize_py_types import Err, Ok
from wit_world import exports
from wit_world.exports.lifecycle import HealthReport, HealthStatus
from wit_world.imports import messaging, state
from wit_world.imports.types import Failure

noted: list[str] = []


class Lifecycle(exports.Lifecycle):
    def init(self, config):
        if config == b"refuse":
            raise Err(Failure("Refused", "not with this configuration"))
        saved = state.load()
        noted.extend(json.loads(saved) if saved is not None else [])

    def execute(self, operation, input, context):
        raise Err(Failure("Unknown", operation))

    def handle_message(self, sender, message):
        text = message.decode()
        if text == "raise":
            raise RuntimeError("a Python exception traps")
        if text == "save":
            state.save(json.dumps(noted).encode())
            return None
        if text.startswith("ask "):
            return messaging.send_request(text[4:], b"how many?", 5000).encode()
        noted.append(f"{sender}: {text}" if sender else text)
        return str(len(noted)).encode()

    def handle_callback(self, request, answer):
        noted.append(answer.value.decode() if isinstance(answer, Ok) else answer.value.kind)

    def metadata(self):
        raise NotImplementedError

    def health(self):
        unwell = len(noted) >= 3 and "signed" not in noted
        return HealthReport(
            HealthStatus.UNHEALTHY if unwell else HealthStatus.HEALTHY, "nobody signed" if unwell else None
        )

    def shutdown(self):
        pass


class WitWorld(wit_world.WitWorld):
    def lines(self):
        return noted
