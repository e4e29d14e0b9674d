"""Made-up questions for the scripted server: `python benchmarks/questions.py 1415 questions.jsonl`.

They look like the contest's: three questions a problem, two to five options, prompts of 500 to 900 characters. Each
question carries the right letter and the chance that an attempt gives it, "[B 0.9731]": the scripted server reads it.

The chances are drawn from Beta(0.51, 0.083). Its mean is the first-pass accuracy of a 70B model in the contest, 86 %.
Among the distributions with that mean, it is the one by which 65 % of the first-wrong questions become right within six
further attempts, as in the contest. Most questions are nearly certain, and a few are nearly hopeless.
"""

import argparse
import json
import random
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

LETTERS = "ABCDE"
PER_PROBLEM = 3
_BETA = (0.51, 0.083)
_NAMES = ("Ann", "Bob", "Carla", "David", "Erik", "Fatima", "Greta", "Hugo", "Ines", "Jonas")
_PLACES = ("the library", "the harbour", "the bakery", "the town hall", "the museum", "the old mill")
_RELATIONS = (
    "arrived before",
    "is taller than",
    "sits to the left of",
    "lives nearer to the river than",
    "owes money to",
)


def records(number: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """Records as in results/data/{split}.jsonl, with `number` questions in all."""
    draw = random.Random(seed)
    for start in range(0, number, PER_PROBLEM):
        people = draw.sample(_NAMES, draw.randint(4, 7))
        facts = [
            f"{one} {draw.choice(_RELATIONS)} {other}, was near {draw.choice(_PLACES)} on day {draw.randint(1, 30)}."
            for one, other in pairwise(people)
        ]
        count = min(PER_PROBLEM, number - start)
        yield {
            "id": f"p{start // PER_PROBLEM}",
            "problem": f"Case {start // PER_PROBLEM}. {' '.join(facts)} Everything that matters is told here.",
            "questions": [_question(draw, people, index) for index in range(count)],
        }


def _question(draw: random.Random, people: list[str], index: int) -> dict[str, Any]:
    options = [
        f"{name} {draw.choice(_RELATIONS)} nobody" for name in draw.sample(people, min(len(people), draw.randint(2, 5)))
    ]
    answer = draw.choice(LETTERS[: len(options)])
    chance = draw.betavariate(*_BETA)
    question = f"Question {index + 1}: which of these follows from what is told? [{answer} {chance:.4f}]"
    return {"index": index, "question": question, "options": options, "answer": answer}


def write(path: Path, number: int, seed: int = 1) -> Path:
    """Write the data file; one record is in memory at a time."""
    with path.open("w", encoding="utf-8") as file:
        for record in records(number, seed):
            file.write(json.dumps(record) + "\n")
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", type=int)
    parser.add_argument("output", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    write(arguments.output, arguments.number, arguments.seed)
