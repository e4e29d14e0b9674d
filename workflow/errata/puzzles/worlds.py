"""The solver of puzzles about places, times and amounts: it tries every world that agrees with the text."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

OPERATORS = {"<": operator.lt, "=": operator.eq, "!=": operator.ne, ">": operator.gt}


@dataclass(frozen=True)
class Comparison:
    """`left op times * right + plus`; without `right`, `left op plus`. Names stand for whole numbers."""

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
    """All ways to give each of `names` one of `values`; with `distinct`, never the same one twice."""

    names: tuple[str, ...]
    values: range
    distinct: bool = True

    def verdict(self, facts: Sequence[Comparison], claim: Sequence[Comparison]) -> bool | None:
        """Whether the claim (all its comparisons) holds in every world or in none that the facts allow.

        None where the worlds differ, and where the facts contradict each other so that there is no world.
        """
        verdicts = {all(part.holds(world) for part in claim) for world in consistent(self, frozenset(facts))}
        return verdicts.pop() if len(verdicts) == 1 else None


@lru_cache(maxsize=256)
def consistent(worlds: Worlds, facts: frozenset[Comparison]) -> tuple[Mapping[str, int], ...]:
    """Every world in which all facts hold; a world is given up as soon as the names it has break a fact."""
    found: list[dict[str, int]] = [{}]
    known: set[str] = set()
    for name in worlds.names:
        known.add(name)
        due = [fact for fact in facts if name in fact.names and fact.names <= known]
        wider = [
            world | {name: value}
            for world in found
            for value in worlds.values
            if not (worlds.distinct and value in world.values())
        ]
        found = [world for world in wider if all(fact.holds(world) for fact in due)]
    return tuple(found)
