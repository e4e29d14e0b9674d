"""The solver of puzzles with facts and rules: it computes the least fixpoint under the closed world.

What is neither stated nor derivable is false, so `not` means "not derivable". This is well defined if no predicate
depends on its own negation; rules that break this are refused.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

Atom = tuple[str, ...]  # predicate and arguments; "?x" is a variable


@dataclass(frozen=True)
class Literal:
    atom: Atom
    positive: bool = True


@dataclass(frozen=True)
class Rule:
    """`head` holds if all of `body` holds; a fact is a rule without a body."""

    head: Atom
    body: tuple[Literal, ...] = ()


@dataclass(frozen=True)
class Claim:
    """`body` has exactly `count` solutions. A body without variables has one if it holds, else none."""

    body: tuple[Literal, ...]
    count: int = 1


def literals(text: str) -> tuple[Literal, ...]:
    """Read "ticket ?x and not banned ?x"."""
    parts = [part.split() for part in text.split(" and ")]
    return tuple(Literal(tuple(words[1:]), False) if words[0] == "not" else Literal(tuple(words)) for words in parts)


def rule(text: str) -> Rule:
    """Read "enters ?x if ticket ?x and not banned ?x", or a fact: "ticket Ann"."""
    head, _, body = text.partition(" if ")
    return Rule(tuple(head.split()), literals(body) if body else ())


@dataclass(frozen=True)
class Closure:
    """Solver by facts and rules; `background` contains the rules that a reader knows, e.g. what a sister is."""

    background: tuple[Rule, ...] = ()

    def verdict(self, facts: Sequence[Rule], claim: Sequence[Claim]) -> bool:
        """Whether all parts of the claim hold; under the closed world this is never undecided."""
        atoms = derive((*self.background, *facts))
        return all(len(list(solutions(part.body, atoms))) == part.count for part in claim)


@lru_cache(maxsize=256)
def derive(rules: tuple[Rule, ...]) -> frozenset[Atom]:
    """Derive all atoms that follow from the rules, stratum by stratum.

    Raises:
        ValueError: a predicate depends on its own negation, or a variable occurs only under `not`.
    """
    level = strata(rules)
    atoms: frozenset[Atom] = frozenset()
    for stage in sorted(set(level.values())):
        due = [rule for rule in rules if level[rule.head[0]] == stage]
        while new := {bind(each.head, found) for each in due for found in solutions(each.body, atoms)} - atoms:
            atoms |= new
    return atoms


def strata(rules: Sequence[Rule]) -> dict[str, int]:
    """The stratum of every predicate; a predicate under `not` is in a lower stratum than the head of the rule."""
    level: dict[str, int] = defaultdict(int)
    for _ in range(len(rules) + 1):
        before = dict(level)
        for each in rules:
            below = [level[literal.atom[0]] + (not literal.positive) for literal in each.body]
            level[each.head[0]] = max([level[each.head[0]], *below])
        if level == before:
            return level
    raise ValueError("a predicate depends on its own negation")


def solutions(
    body: Sequence[Literal], atoms: Iterable[Atom], bound: dict[str, str] | None = None
) -> Iterator[dict[str, str]]:
    """All bindings of the variables in a body that make all its literals hold in `atoms`."""
    bound = bound or {}
    if not body:
        yield bound
        return
    atom = bind(body[0].atom, bound)
    if body[0].positive:
        for fact in atoms:
            match = unify(atom, fact)
            if match is not None:
                yield from solutions(body[1:], atoms, bound | match)
    elif any(term.startswith("?") for term in atom):
        raise ValueError(f"a variable only under not: {atom}")
    elif atom not in atoms:
        yield from solutions(body[1:], atoms, bound)


def bind(atom: Atom, bound: dict[str, str]) -> Atom:
    return tuple(bound.get(term, term) for term in atom)


def unify(atom: Atom, fact: Atom) -> dict[str, str] | None:
    """The binding of variables that turns `atom` into `fact`, which has no variables, or None."""
    match: dict[str, str] = {}
    if len(atom) != len(fact):
        return None
    for term, value in zip(atom, fact, strict=True):
        if (match.setdefault(term, value) if term.startswith("?") else term) != value:
            return None
    return match
