"""The summaries that steps write beside their rows: their counts and the cost of asking.

A step writes its summary with `to_record`. Readers use `read_summary`, or `read` of the class that they expect. A
figure is None where the file does not contain it, as in files of earlier versions.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self, TypeVar

from errata.core.errors import UserError
from errata.core.files import read_json

Parsed = TypeVar("Parsed")


class PartRuns(NamedTuple):
    """When a part was asked.

    Attributes:
        part: "2/4" is the second of four.
        asked_seconds: how long this run asked.
        runs: begin and last completion, in Unix time, of every run whose completions the part uses.
    """

    part: str
    asked_seconds: float
    runs: tuple[tuple[float, float], ...]


class PartCosts(NamedTuple):
    """One part's share of a summary that was gathered; attributes as in the summaries."""

    part: str
    questions: int | None
    completion_tokens: int | None
    wall_seconds: float | None
    requests: int | None
    saturated: float | None


@dataclass(frozen=True, kw_only=True)
class Costs:
    """The cost of asking. Tokens and seconds are those of all runs together, the rest is of this run alone.

    Attributes:
        cached_tokens: prompt tokens that the server had in its prefix cache; None where it does not say.
        wall_seconds: time in which at least one job asked.
        requests: how many this run sent.
        cancelled: how many of them it cancelled.
        saturated: share of the asking time in which the server had as many requests as it may have; None where nothing
            was asked.
        server_seconds: of a gathered summary, the sum of the times of all parts.
        parts: of a gathered summary, the costs of each part.
        runs: of a part, when it was asked.
        of_folds: the models of several folds were asked, one after another; `saturated` then has no meaning.
    """

    prompt_tokens: int | None = None
    cached_tokens: int | None = None
    completion_tokens: int | None = None
    wall_seconds: float | None = None
    requests: int | None = None
    cancelled: int | None = None
    saturated: float | None = None
    server_seconds: float | None = None
    parts: tuple[PartCosts, ...] = ()
    runs: PartRuns | None = None
    of_folds: bool = False

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        runs = None
        if "part" in record:
            spans = tuple((started, until) for started, until in record["runs"])
            runs = PartRuns(record["part"], record["asked_seconds"], spans)
        return cls(
            prompt_tokens=record.get("prompt_tokens"),
            cached_tokens=record.get("cached_tokens"),
            completion_tokens=record.get("completion_tokens"),
            wall_seconds=record.get("wall_seconds"),
            requests=record.get("requests"),
            cancelled=record.get("cancelled"),
            saturated=record.get("saturated"),
            server_seconds=record.get("server_seconds"),
            parts=tuple(PartCosts(*(part.get(name) for name in PartCosts._fields)) for part in record.get("parts", ())),
            runs=runs,
            of_folds="saturated" not in record,
        )

    def to_record(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.cached_tokens,
            "completion_tokens": self.completion_tokens,
            "wall_seconds": self.wall_seconds,
            "requests": self.requests,
            "cancelled": self.cancelled,
            **({} if self.of_folds else {"saturated": self.saturated}),
            **({} if self.server_seconds is None else {"server_seconds": self.server_seconds}),
            **({"parts": [part._asdict() for part in self.parts]} if self.parts else {}),
            **(self.runs._asdict() if self.runs else {}),
        }


class Summary:
    """The keys of all summaries. The fields of its classes have the names and the order of their file's keys.

    Attributes:
        template: digest of the prompt template; None where the file does not say.
        questions: how many rows the file beside it has.
        failed: the questions among them for which the server gave no completion.
    """

    template: str | None
    questions: int | None
    failed: int | None
    costs: Costs

    # keys that are left out where they are None; other keys are written as null
    OPTIONAL: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def figures(cls) -> list[str]:
        """The keys before the costs, in the file's order."""
        names = [field.name for field in fields(cls)]  # type: ignore[arg-type] # its classes are dataclasses
        return [name for name in names if name != "costs"]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a summary file.

        Raises:
            UserError: it is missing or is not a summary.
        """
        return _parse(path, cls.from_record)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        figures = {name: record.get(name) for name in cls.figures()}
        return cls(**figures, costs=Costs.from_record(record))  # type: ignore[call-arg] # its classes are dataclasses

    def to_record(self) -> dict[str, Any]:
        values = {name: getattr(self, name) for name in self.figures()}
        written = {name: value for name, value in values.items() if value is not None or name not in self.OPTIONAL}
        return written | self.costs.to_record()

    @property
    def sampled_accuracy(self) -> float | None:
        """The mean accuracy of one sampled completion; None where each question has one completion."""
        return None


@dataclass(frozen=True, kw_only=True)
class AnswerSummary(Summary):
    """`answers/{split}.summary.json` and `scores/{variant}/{split}.summary.json`: every question was asked once.

    Attributes:
        correct: questions answered with their label.
        unreadable: questions without a readable answer, truncated and failed ones included.
        truncated: completions that were cut off by their limit of tokens.
        reused: completions that earlier runs had finished.
    """

    template: str | None = None
    questions: int | None = None
    correct: int | None = None
    unreadable: int | None = None
    truncated: int | None = None
    failed: int | None = None
    reused: int | None = None
    costs: Costs = Costs()

    OPTIONAL = frozenset({"template"})


@dataclass(frozen=True, kw_only=True)
class SampleSummary(Summary):
    """`samples/{variant}/{split}.summary.json`: every question was asked several times.

    Attributes:
        samples: completions in all.
        unreadable: questions without a readable sample.
        failed: questions whose samples all failed.
        failed_samples: samples for which the server gave no completion.
        truncated: samples that were cut off by their limit of tokens.
        reused: samples that earlier runs had finished.
    """

    template: str | None = None
    questions: int | None = None
    samples: int | None = None
    unreadable: int | None = None
    failed: int | None = None
    failed_samples: int | None = None
    truncated: int | None = None
    reused: int | None = None
    costs: Costs = Costs()


@dataclass(frozen=True, kw_only=True)
class VoteSummary(Summary):
    """`scores/{variant}+maj{votes}/{split}.summary.json`: the majority of several samples of every question.

    Its costs are tokens and `wall_seconds`, which is None where more was sampled than voted: nobody measured what the
    votes alone would have taken.

    Attributes:
        correct, unreadable, truncated, failed: questions, by their majority.
        samples: completions that voted.
        labelled_samples: those of them whose question has a label.
        right_samples: those of the labelled ones that are right; an unreadable one is wrong.
    """

    template: str | None = None
    questions: int | None = None
    correct: int | None = None
    unreadable: int | None = None
    truncated: int | None = None
    failed: int | None = None
    samples: int | None = None
    labelled_samples: int | None = None
    right_samples: int | None = None
    costs: Costs = Costs()

    def to_record(self) -> dict[str, Any]:
        return {
            **{name: getattr(self, name) for name in self.figures()},
            "prompt_tokens": self.costs.prompt_tokens,
            "completion_tokens": self.costs.completion_tokens,
            "wall_seconds": self.costs.wall_seconds,
        }

    @property
    def sampled_accuracy(self) -> float | None:
        return (self.right_samples or 0) / self.labelled_samples if self.labelled_samples else None


@dataclass(frozen=True, kw_only=True)
class RetrySummary(Summary):
    """`retries/{strategy}.summary.json`: questions were asked again until right.

    Attributes:
        method: of `errata.config.methods.ASKING_METHODS`.
        conclude_template: digest of the template that verified reflections; None where nothing was verified.
        solved, rejected, exhausted, unreadable, truncated, failed, skipped: questions by their outcome, see `OUTCOMES`.
        solved_by_attempt: how many questions each attempt was the first to solve, from attempt 1.
        attempts: finished ones.
        right: those of them with the right answer, accepted or not.
        rejected_gives_away, rejected_inconclusive, rejected_no_solution: right attempts by why they were rejected.
        reused: attempts that earlier runs had finished.
        tokens_per_solved: completion tokens for each solved question; None where none is.
        cancelled_tokens: an estimate of the tokens of this run's cancelled attempts; `costs.completion_tokens` does not
            contain them.
    """

    method: str | None = None
    template: str | None = None
    conclude_template: str | None = None
    questions: int | None = None
    solved: int | None = None
    rejected: int | None = None
    exhausted: int | None = None
    unreadable: int | None = None
    truncated: int | None = None
    failed: int | None = None
    skipped: int | None = None
    solved_by_attempt: Sequence[int] | None = None
    attempts: int | None = None
    right: int | None = None
    rejected_gives_away: int | None = None
    rejected_inconclusive: int | None = None
    rejected_no_solution: int | None = None
    reused: int | None = None
    tokens_per_solved: float | None = None
    cancelled_tokens: int | None = None
    costs: Costs = Costs()

    OPTIONAL = frozenset({"conclude_template", "cancelled_tokens"})


def read_summary(path: Path) -> Summary:
    """Read a summary file of any of these steps.

    Raises:
        UserError: it is missing or is not a summary.
    """
    return _parse(path, parse_summary)


def parse_summary(record: Mapping[str, Any]) -> Summary:
    """The summary of a record, of the class that its keys show."""
    kinds = {"method": RetrySummary, "labelled_samples": VoteSummary, "failed_samples": SampleSummary}
    kind: type[Summary] = next((kind for key, kind in kinds.items() if key in record), AnswerSummary)
    return kind.from_record(record)


def _parse(path: Path, parse: Callable[[Mapping[str, Any]], Parsed]) -> Parsed:
    record = read_json(path)
    try:
        return parse(record)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: not a summary of this workflow ({error}). Delete it and run again.") from error
