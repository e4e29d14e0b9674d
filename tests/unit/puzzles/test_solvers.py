"""The two solvers of puzzles, on hand-written cases and against plain enumeration."""

from itertools import permutations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from errata.puzzles.closure import Claim, Closure, derive, literals, rule
from errata.puzzles.kinship import KINSHIP
from errata.puzzles.worlds import Comparison, Worlds

# --- worlds


def test_an_order_proves_what_follows_and_refutes_its_reverse() -> None:
    worlds = Worlds(("Ann", "Ben", "Leo"), range(1, 4))
    facts = (Comparison("Ann", "<", "Ben"), Comparison("Ben", "<", "Leo"))
    assert worlds.verdict(facts, (Comparison("Ann", "<", "Leo"),)) is True
    assert worlds.verdict(facts, (Comparison("Leo", "<", "Ann"),)) is False
    assert worlds.verdict(facts, (Comparison("Ben", "=", plus=2),)) is True


def test_undecided_claims_are_neither_proved_nor_refuted() -> None:
    worlds = Worlds(("Ann", "Ben", "Leo"), range(1, 4))
    facts = (Comparison("Ann", "<", "Ben"), Comparison("Ann", "<", "Leo"))
    assert worlds.verdict(facts, (Comparison("Ben", "<", "Leo"),)) is None
    assert worlds.verdict(facts, (Comparison("Ann", "=", plus=1),)) is True


def test_contradictory_statements_prove_nothing() -> None:
    facts = (Comparison("Ann", "<", "Ben"), Comparison("Ben", "<", "Ann"))
    assert Worlds(("Ann", "Ben"), range(1, 3)).verdict(facts, (Comparison("Ann", "<", "Ben"),)) is None


def test_a_schedule_is_solved_by_elimination() -> None:
    worlds = Worlds(("Ann", "Ben", "Leo"), range(3))
    facts = (Comparison("Ann", "=", plus=1), Comparison("Ben", "!=", plus=0))
    assert worlds.verdict(facts, (Comparison("Leo", "=", plus=0),)) is True
    assert worlds.verdict(facts, (Comparison("Ben", "=", plus=2),)) is True
    assert worlds.verdict(facts[:1], (Comparison("Ben", "=", plus=2),)) is None


def test_amounts_follow_from_each_other_and_may_be_equal() -> None:
    worlds = Worlds(("unit", "Ann", "Ben", "Leo"), range(21), distinct=False)
    facts = (
        Comparison("unit", "=", plus=3),  # a ticket costs 3 coins
        Comparison("Ann", "=", "unit", times=2),  # Ann buys 2 tickets
        Comparison("Ben", "=", "Ann", times=2),  # Ben pays twice as many coins
        Comparison("Leo", "=", "Ben", plus=-4),
    )
    assert worlds.verdict(facts, (Comparison("Ben", "=", plus=12),)) is True
    assert worlds.verdict(facts, (Comparison("Leo", "=", "Ann", times=-1, plus=14),)) is True  # together 14
    assert worlds.verdict(facts, (Comparison("Ben", ">", "Ann"), Comparison("Ben", ">", "Leo"))) is True
    assert worlds.verdict(facts, (Comparison("Ben", ">", "Ann"), Comparison("Leo", ">", "Ben"))) is False


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_worlds_agree_with_enumerating_all_permutations(data: st.DataObject) -> None:
    """The solver drops worlds early; plain enumeration must give the same verdicts."""
    names = ("Ann", "Ben", "Leo", "Mia")
    comparison = st.builds(
        Comparison,
        st.sampled_from(names),
        st.sampled_from(["<", ">", "=", "!="]),
        st.just(""),
        st.just(1),
        st.integers(1, 4),
    ) | st.permutations(names).flatmap(
        lambda order: st.builds(
            Comparison, st.just(order[0]), st.sampled_from("<>="), st.just(order[1]), st.just(1), st.integers(-1, 1)
        )
    )
    facts = data.draw(st.lists(comparison, max_size=3))
    claim = data.draw(comparison)
    worlds = [dict(zip(names, order, strict=True)) for order in permutations(range(1, 5))]
    allowed = [world for world in worlds if all(fact.holds(world) for fact in facts)]
    verdicts = {claim.holds(world) for world in allowed}
    expected = verdicts.pop() if len(verdicts) == 1 else None
    assert Worlds(names, range(1, 5)).verdict(facts, (claim,)) is expected


# --- closure


def test_what_cannot_be_derived_is_false() -> None:
    facts = tuple(
        rule(text)
        for text in (
            "person Ann",
            "person Ben",
            "ticket Ann",
            "ticket Ben",
            "late Ben",
            "enters ?x if ticket ?x and not late ?x",
            "home ?x if person ?x and not enters ?x",
        )
    )
    assert ("enters", "Ann") in derive(facts)
    assert ("enters", "Ben") not in derive(facts)
    assert ("home", "Ben") in derive(facts)
    assert ("home", "Ann") not in derive(facts)
    assert Closure().verdict(facts, (Claim(literals("late Ann")),)) is False
    assert Closure().verdict(facts, (Claim(literals("person ?x and not late ?x"), 1),)) is True
    assert Closure().verdict(facts, (Claim(literals("person ?x and enters ?x and home ?x"), 0),)) is True


def test_strata_do_not_depend_on_the_order_of_the_rules() -> None:
    texts = [
        "c ?x if p ?x and not b ?x",
        "b ?x if p ?x and not a ?x",
        "a ?x if p ?x and q ?x",
        "p Ann",
        "p Ben",
        "q Ann",
    ]
    for order in permutations(texts):
        assert {atom for atom in derive(tuple(rule(text) for text in order)) if atom[0] in "abc"} == {
            ("a", "Ann"),
            ("b", "Ben"),
            ("c", "Ann"),
        }


def test_a_rule_applies_to_its_own_results() -> None:
    facts = "edge a b", "edge b c", "edge c d", "path ?x ?y if edge ?x ?y", "path ?x ?z if path ?x ?y and edge ?y ?z"
    assert ("path", "a", "d") in derive(tuple(rule(text) for text in facts))


@pytest.mark.parametrize("text", ["odd ?x if person ?x and not odd ?x", "alone ?x if not friend ?x ?y"])
def test_rules_that_are_not_well_defined_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"negation|under not"):
        derive((rule("person Ann"), rule(text)))


@pytest.mark.parametrize(
    ("claim", "expected"),
    [
        ("grandmother Ann Mia", True),
        ("grandfather Ann Mia", False),
        ("mother Ann Leo", True),
        ("aunt Rosa Mia", True),
        ("uncle Leo Mia", False),
        ("brother Leo Rosa", True),
        ("brother Leo Leo", False),
        ("sister Rosa Leo", True),
        ("daughter Mia Leo", True),
        ("son Leo Ann", True),
        ("father Leo Ann", False),
    ],
)
def test_family_relations_follow_from_parents(claim: str, expected: bool) -> None:
    facts = "parent Ann Leo", "parent Ann Rosa", "parent Leo Mia", "female Ann", "male Leo", "female Rosa", "female Mia"
    people = (f"person {name}" for name in ("Ann", "Leo", "Rosa", "Mia"))
    stated = tuple(rule(text) for text in (*facts, *people))
    assert Closure(KINSHIP).verdict(stated, (Claim(literals(claim)),)) is expected


def test_members_of_both_sets_are_counted() -> None:
    facts = (
        "person Ann",
        "person Ben",
        "person Leo",
        "in Ann choir",
        "in Ben choir",
        "in ?x band if in ?x choir",
        "in Leo band",
    )
    stated = tuple(rule(text) for text in facts)
    both, neither = literals("in ?x choir and in ?x band"), literals("person ?x and not in ?x band")
    assert Closure().verdict(stated, (Claim(both, 2),)) is True
    assert Closure().verdict(stated, (Claim(both, 3),)) is False
    assert Closure().verdict(stated, (Claim(neither, 0),)) is True
