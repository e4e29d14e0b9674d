"""Step gather: put together what parts have answered, as if one job had asked everything."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from errata.core.errors import Faults, UserError
from errata.core.files import atomic_file, read_json, read_jsonl, read_jsonl_places, write_json
from errata.data.records import ABOUT, Key
from errata.inference.journal import Runs

# Of a part's summary what means nothing once the parts are together.
_APART = {"part", "asked_seconds", "runs"}
# Faults that are told one by one.
_MANY = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--data", type=Path, metavar="FILE", help="results/data/{split}.jsonl, whose answers these are")
    what.add_argument("--answers", type=Path, metavar="FILE", help="first answers, which these are retries of")
    parser.add_argument("--about", choices=ABOUT, default="wrong", help="as step retry was given it")
    parser.add_argument("--parts", type=Path, nargs="+", required=True, metavar="FILE", help="one a part")
    parser.add_argument("--summaries", type=Path, nargs="+", required=True, metavar="FILE", help="in the same order")
    parser.add_argument("--output", type=Path, required=True, help="one line a question")
    parser.add_argument("--summary", type=Path, required=True, help="JSON: what the parts counted, added up")


def run(arguments: argparse.Namespace) -> None:
    """Write the lines of all parts, unchanged, in the order that one job would have written them.

    Raises:
        Faults: a question is missing, stands in the parts twice, or is none that was to be asked.
        UserError: a file cannot be read, or no question at all was answered.
    """
    wanted = all_questions(arguments.data) if arguments.data else _asked_again(arguments.answers, arguments.about)
    summary = combined([read_json(path) for path in arguments.summaries])
    if summary["questions"] and summary["failed"] == summary["questions"]:
        raise UserError(
            f"{arguments.output}: the server refused every question; the ends of the logs say why. Most often "
            "generate.max_tokens leaves no room for the prompt within the model's context length. "
            f"Mend it, delete {', '.join(sorted({str(path.parent) for path in arguments.parts}))} and run again."
        )
    merge(wanted, arguments.parts, arguments.output)
    write_json(arguments.summary, summary)
    if arguments.answers and not summary["questions"]:
        print("every question was answered right at first: there is nothing to learn from.", file=sys.stderr)


def all_questions(data: Path) -> Iterator[Key]:
    """Every question of a data file, in its order."""
    for record in read_jsonl(data):
        for question in record["questions"]:
            yield Key(record["id"], question["index"])


def _asked_again(answers: Path, about: str) -> Iterator[Key]:
    """The questions of an answers file that step retry asks again, in its order; never those without a label."""
    return (Key(row["id"], row["question"]) for row in read_jsonl(answers) if row["correct"] in ABOUT[about])


def merge(wanted: Iterator[Key], parts: Sequence[Path], output: Path) -> None:
    """Write the lines of the parts in the order of `wanted`; only where they stand is held in memory.

    Raises:
        Faults: a question is missing, stands in the parts twice, or is not among those wanted.
    """
    places: dict[Key, tuple[int, int]] = {}
    faults = []
    for number, part in enumerate(parts):
        for place, row in read_jsonl_places(part):
            key = Key(row["id"], row["question"])
            if key in places:
                faults.append(f"{part}: {_name(key)} stands also in {parts[places[key][0]]}")
            places[key] = (number, place)
    files = [part.open("rb") for part in parts]
    try:
        with atomic_file(output) as file:
            for key in wanted:
                found = places.pop(key, None)
                if found is None:
                    faults.append(f"{_name(key)} is missing")
                elif not faults:
                    number, place = found
                    files[number].seek(place)
                    file.write(files[number].readline().decode())
            faults += [f"{parts[number]}: {_name(key)} was not to be asked" for key, (number, _) in places.items()]
            if faults:
                told = [*faults[:_MANY], *([f"and {len(faults) - _MANY} more"] if len(faults) > _MANY else [])]
                raise Faults(str(output), told, "delete the parts and run again; the journals keep what was generated.")
    finally:
        for each in files:
            each.close()


def combined(summaries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the parts counted, added up, and what only parts have: how much each did.

    `wall_seconds` is the time in which at least one part asked, `server_seconds` that of all parts together; they were
    as busy (`saturated`) as their mean, weighted by time.

    Raises:
        UserError: they were not made with the same template or the like.
    """
    first = summaries[0]
    total: dict[str, Any] = {}
    # a part that an earlier version made may lack what the others tell
    for name in dict.fromkeys(name for summary in summaries for name in summary):
        values = [summary.get(name) for summary in summaries]
        if name in _APART:
            continue
        known = [each for each in values if each is not None]
        strings = {each for each in known if isinstance(each, str)}
        if len(strings) > 1:
            raise UserError(
                f"the parts were made with different settings: {name} is {' and '.join(sorted(strings))}. "
                "Delete the parts and run again; the journals keep what was generated."
            )
        if strings:
            # what the parts have in common; one without questions may not know it
            (total[name],) = strings
        elif known and isinstance(known[0], list):
            total[name] = [sum(each) for each in zip(*known, strict=True)]
        else:
            total[name] = sum(known) if known else None
    runs = Runs()
    for summary in summaries:
        for started, until in summary["runs"]:
            runs.span(started, until)
    asked = sum(summary["asked_seconds"] for summary in summaries)
    busy = sum((summary["saturated"] or 0.0) * summary["asked_seconds"] for summary in summaries)
    total["saturated"] = round(busy / asked, 3) if asked else None
    total["server_seconds"] = round(total["wall_seconds"], 3)
    total["wall_seconds"] = round(runs.seconds, 3)
    if "tokens_per_solved" in first:
        solved = total["solved"]
        total["tokens_per_solved"] = round(total["completion_tokens"] / solved, 1) if solved else None
    told = ("part", "questions", "completion_tokens", "wall_seconds", "requests", "saturated")
    return {**total, "parts": [{name: summary[name] for name in told} for summary in summaries]}


def _name(key: Key) -> str:
    return f"question {key.question} of problem {key.id!r}"
