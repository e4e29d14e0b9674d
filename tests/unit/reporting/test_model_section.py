"""One model's section of the report."""

from pathlib import Path

from errata.config.strategies import Strategies
from errata.config.validation import validate
from errata.plan.layout import Results
from errata.reporting.model_section import collect_section, find_source
from made_up_run import write_lines


def test_retries_of_a_further_round_are_shown_with_the_answers_of_the_round_before(tmp_path: Path) -> None:
    configuration = validate(
        {
            "dataset": {"train": "a", "test": "b"},
            "models": {"m": {"source": "x"}},
            "strategies": {"self": {"rounds": 2}},
        }
    )
    strategies = Strategies.of(configuration)
    assert [find_source(strategies, name).respondent for name in ("self", "self-round2")] == ["base", "self"]
    row = {"id": "p", "question": 0, "prompt": "?", "expected": "B", "correct": False, "finish_reason": "stop"}
    for path, answer in (("answers", "A"), ("scores/self", "C")):
        answered = {**row, "completion": f"It is {answer}, said {path}.", "answer": answer, "completion_tokens": 1}
        write_lines(tmp_path / "m" / path / "train.jsonl", [answered])
    attempt = {"completion": "B", "answer": "B", "correct": True, "completion_tokens": 1, "finish_reason": "stop"}
    for name, first in (("self", "A"), ("self-round2", "C")):
        retried = {
            "id": "p",
            "question": 0,
            "expected": "B",
            "first": first,
            "outcome": "solved",
            "attempts": [attempt],
        }
        write_lines(tmp_path / "m" / "retries" / f"{name}.jsonl", [retried])
    sources = {name: find_source(strategies, name) for name in ("self", "self-round2")}
    section = collect_section(1, "m", [], sources, {}, Results(tmp_path))
    shown = [(each.respondent, each.solved[0].passages[0]) for each in section.retries]
    assert shown == [
        ("base", ("first answer: A", "It is A, said answers.")),
        ("self", ("first answer: C", "It is C, said scores/self.")),
    ]
