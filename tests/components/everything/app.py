"""The component, as componentize-py compiles it: every type there and back, and the host's resources."""

import sys
import time
from os import urandom

import wit_world
from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import host


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

    def speak(self, text):
        print(text)
        print(text, file=sys.stderr)

    def spin(self):
        while True:
            pass
