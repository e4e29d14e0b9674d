"""The solver of puzzles about places, times and amounts: it tries all worlds that agree with the text."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

OPERATORS = {"<": operator.lt, "=": operator.eq, "!=": operator.ne, ">": operator.gt}


@dataclass(frozen=True)
class Comparison:
    """`left op times * right + plus`, or without `right`: `left op plus`. Names stand for whole numbers."""

    left: str
    op: str
    right: str = ""
    times: int = 1
    plus: int = 0

    @property
    def names(self) -> set[str]:
        return {self.left, self.right} - {""}

    def holds(self, world: Mapping[str, int]) -> bool:
        right = self.times * world[self.right] if self.right else 0
        return bool(OPERATORS[self.op](world[self.left], right + self.plus))


@dataclass(frozen=True)
class Worlds:
    """All ways to give each of `names` one of `values`, if `distinct` a different one to each."""

    names: tuple[str, ...]
    values: range
    distinct: bool = True

    def verdict(self, facts: Sequence[Comparison], claim: Sequence[Comparison]) -> bool | None:
        """Whether the claim (all its comparisons) holds in the worlds that the facts allow.

        None if it holds in some of them only, or if the facts contradict each other and allow none.
        """
        verdicts = {all(part.holds(world) for part in claim) for world in consistent_worlds(self, frozenset(facts))}
        return verdicts.pop() if len(verdicts) == 1 else None


@lru_cache(maxsize=256)
def consistent_worlds(worlds: Worlds, facts: frozenset[Comparison]) -> tuple[Mapping[str, int], ...]:
    """All worlds in which all facts hold. A world is dropped as soon as its names so far break a fact."""
    found: list[dict[str, int]] = [{}]
    placed: set[str] = set()
    for name in worlds.names:
        placed.add(name)
        due = [fact for fact in facts if name in fact.names and fact.names <= placed]
        wider = [
            world | {name: value}
            for world in found
            for value in worlds.values
            if not (worlds.distinct and value in world.values())
        ]
        found = [world for world in wider if all(fact.holds(world) for fact in due)]
    return tuple(found)
