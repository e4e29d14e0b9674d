"""Problems with their questions, as they are in results/data, and the key of a question."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# The splits of a dataset that the configuration names.
SPLITS = ("train", "test")
# Flag --about: for each value, whether the first answers of the questions that are asked again are right. Questions
# without a label are never asked again.
ABOUT = {"wrong": (False,), "all": (False, True)}


class Key(NamedTuple):
    """The key of a question in all files: the id of its problem, and its index from 0 in the input file."""

    id: str
    question: int


@dataclass(frozen=True, slots=True)
class Question:
    """One single-choice question.

    Attributes:
        index: position in the input file, from 0; it stays the same when corrections drop other questions.
        answer: a letter, None if the file gives none (a test file).
        extra: keys of the input that the workflow only passes on.
    """

    index: int
    text: str
    options: tuple[str, ...]
    answer: str | None
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def letters(self) -> str:
        """The letters of the options: "ABC" for three."""
        return LETTERS[: len(self.options)]


@dataclass(frozen=True, slots=True)
class Problem:
    """A text and the questions asked about it. What the text neither states nor implies is false (closed world)."""

    id: str
    text: str
    questions: tuple[Question, ...]
    extra: dict[str, Any] = field(default_factory=dict)

    def key(self, question: Question) -> Key:
        return Key(self.id, question.index)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> "Problem":
        """Read a record of results/data/*.jsonl, which step fix has validated."""
        questions = tuple(
            Question(
                index=question.get("index", position),
                text=question["question"],
                options=tuple(question["options"]),
                answer=question.get("answer"),
                extra=_without(question, "index", "question", "options", "answer"),
            )
            for position, question in enumerate(record["questions"])
        )
        return cls(record["id"], record["problem"], questions, _without(record, "id", "problem", "questions"))

    def to_record(self) -> dict[str, Any]:
        """The record as it is in results/data/*.jsonl: the keys of the input, and the index of each question."""
        questions = []
        for question in self.questions:
            row: dict[str, Any] = {
                "index": question.index,
                "question": question.text,
                "options": list(question.options),
            }
            if question.answer is not None:
                row["answer"] = question.answer
            questions.append({**row, **question.extra})
        return {"id": self.id, "problem": self.text, "questions": questions, **self.extra}


def _without(record: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names}
