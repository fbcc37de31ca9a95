"""The component, as componentize-py compiles it: every type there and back, and the host's resources."""

import sys
import time
from os import urandom

import wit_world
from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import chance, filesystem, host, log, storage
from wit_world.imports import time as host_time


class Echo(exports.Echo):
    def numbers(self, a, b, c, d, e, f):
        return a, b, c, d, e, f

    def text(self, c, s, t):
        return c, s, t

    def people(self, all):
        return all

    def shapes(self, all):
        return all

    def colors(self, c, a):
        return c, a

    def maybe(self, a, b):
        return a, b

    def outcome(self, r):
        return r

    def fails(self, c):
        raise Err(c)

    def data(self, d):
        return d

    def wide(self, d):
        return d


class WitWorld(wit_world.WitWorld):
    def asks(self, name):
        with host.open(name) as note:
            return host.ask(note.text())

    def moment(self):
        return time.time_ns(), urandom(8)

    def remembers(self, text):
        log.log(log.Level.INFO, "begins")
        storage.set("k", text, None)
        now = host_time.current_time_millis()
        number = chance.random()
        filesystem.write("notes/a.bin", bytes(range(256)))
        content = filesystem.read("notes/a.bin")
        keys = storage.list_keys("", None) + filesystem.list_files("notes", False) + [storage.get("k", None)]
        return now, number, keys, content, storage.usage(None).used

    def fails(self):
        try:
            filesystem.read("absent")
        except Err as failed:
            return f"{failed.value.kind}: {failed.value.message}"

    def denied(self):
        storage.set("k", "v", "of-others")

    def speak(self, text):
        print(text)
        print(text, file=sys.stderr)

    def spin(self):
        while True:
            pass
