"""The resource of the interface `echo`: componentize-py looks for it in a module of that name."""

from wit_world.exports import echo


class Counter(echo.Counter):
    def __init__(self, start):
        self.value = start

    def add(self, n):
        self.value += n
        return self.value

    @classmethod
    def merge(cls, a, b):
        return cls(a.value + b.value)
