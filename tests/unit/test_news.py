"""Step news: what a round has solved that no earlier one has trained on."""

import json
from pathlib import Path
from typing import Any

from errata.__main__ import main
from helpers import indexed, problem, write_jsonl


def solved(id: str, question: int, *right: bool, **more: Any) -> dict[str, Any]:
    return {"id": id, "question": question, "attempts": [{"correct": each, **more} for each in right]}


def test_new_is_what_may_be_trained_on_and_stands_in_no_earlier_set(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "train.jsonl", indexed(*(problem(id, "A", "B") for id in "abcd")))
    test = write_jsonl(tmp_path / "test.jsonl", [problem("x", None, text="The text  of d.")])
    rows = [
        solved("a", 0, False, True),
        solved("a", 1, True),
        solved("b", 0, False, False),
        solved("b", 1, True, rejected="gives-away"),
        solved("c", 0, True),
        solved("d", 0, True),
    ]
    retries = write_jsonl(tmp_path / "retries.jsonl", rows)
    before = [tmp_path / "self.json", tmp_path / "self-round2.json"]
    before[0].write_text(json.dumps([{"id": "a", "question": 0}, {"id": "a", "question": 0}]))
    before[1].write_text(json.dumps([{"id": "c", "question": 1}, {"id": "d", "question": 1}]))
    output = tmp_path / "news.json"

    def news(*flags: object) -> Any:
        words = ["--data", data, "--retries", retries, "--output", output, *flags]
        assert main(["news", *map(str, words)]) == 0
        return json.loads(output.read_text())

    assert news("--before", *before, "--held-out", test) == {"solved": 3, "new": 2}
    assert news("--before", "--held-out") == {"solved": 4, "new": 4}
    before[1].write_text(json.dumps([{"id": "a", "question": 1}, {"id": "c", "question": 0}]))
    assert news("--before", *before, "--held-out", test) == {"solved": 3, "new": 0}
