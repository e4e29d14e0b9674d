"""Faults of a configuration, by key."""

from typing import NamedTuple


class Fault(NamedTuple):
    """A fault of one key.

    Attributes:
        key: dotted, such as `models.m.source`.
        text: what is wrong, and the remedy where it is not obvious.
        reads: further keys that the fault follows from. Where one of them has a fault of its own, this one may
            only follow from it and is not reported.
    """

    key: str
    text: str
    reads: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.key}: {self.text}"

    def below(self, key: str) -> "Fault":
        """The same fault in a section."""
        return self._replace(key=f"{key}.{self.key}")

    def follows_from(self, keys: set[str]) -> bool:
        """Whether the fault is about one of these keys, a part of its value, or a section that contains it."""
        return any(_overlap(own, key) for own in (self.key, *self.reads) for key in keys)


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
