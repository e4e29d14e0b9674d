"""The part of the problems that one of several jobs asks about."""

import argparse
import re
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import NamedTuple, TypeVar

from errata.core.files import read_jsonl
from errata.data.records import Problem, Question

Item = TypeVar("Item")


class Part(NamedTuple):
    """Part `number` (from 1) of `of`: every `of`-th problem, so that the questions of a problem stay together.

    Data is often sorted by difficulty. Taking every `of`-th problem gives each part its share of the hard ones.
    """

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> "Part":
        """Read the value of a flag, such as "2/4"."""
        found = re.fullmatch(r"([0-9]+)/([0-9]+)", text)
        part = cls(int(found[1]), int(found[2])) if found else cls(0, 0)
        if not 1 <= part.number <= part.of:
            raise argparse.ArgumentTypeError(f"{text!r} is not a part; the second of four is 2/4")
        return part

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

    def take(self, problems: Iterable[Item]) -> Iterator[Item]:
        """The problems of this part, in their order."""
        return islice(problems, self.number - 1, None, self.of)

    def share(self, amount: int) -> int:
        """This part's share of an amount; the shares of all parts add up to it."""
        return amount * self.number // self.of - amount * (self.number - 1) // self.of

    def label(self, step: str) -> str:
        """A step's name in progress messages, with the part if there are several."""
        return step if self == ALL_PROBLEMS else f"{step} (part {self.number} of {self.of}),"


ALL_PROBLEMS = Part(1, 1)


def add_part_argument(parser: argparse.ArgumentParser) -> None:
    """Add the flag `--part K/N`."""
    parser.add_argument(
        "--part",
        type=Part.parse,
        default=ALL_PROBLEMS,
        metavar="K/N",
        help="only problems K, K+N, K+2N, ... of the data; step gather puts the parts together",
    )


def read_questions(data: Path, part: Part = ALL_PROBLEMS) -> Iterator[tuple[Problem, Question]]:
    """Every question of a part of a data file with its problem, in the order of the file."""
    for record in part.take(read_jsonl(data)):
        problem = Problem.from_record(record)
        for question in problem.questions:
            yield problem, question
