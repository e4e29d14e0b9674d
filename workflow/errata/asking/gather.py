"""Step gather: join the results of the parts, as if one job had asked everything."""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from errata.core.errors import Faults, UserError
from errata.core.files import atomic_file, read_jsonl, write_json
from errata.data.records import ABOUT, Key
from errata.data.rows import read_answers, read_places
from errata.data.summaries import Costs, PartCosts, RetrySummary, Summary, read_summary
from errata.inference.run_times import RunTimes

SummaryT = TypeVar("SummaryT", bound=Summary)
# Faults that are reported one by one.
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
    """Write the lines of all parts, unchanged, in the order in which one job would have written them.

    Raises:
        Faults: a question is missing, is in two parts, or should not have been asked.
        UserError: a file cannot be read, or no question at all was answered.
    """
    wanted = all_questions(arguments.data) if arguments.data else _asked_again(arguments.answers, arguments.about)
    summary = add_parts([read_summary(path) for path in arguments.summaries])
    if summary.questions and summary.failed == summary.questions:
        raise UserError(
            f"{arguments.output}: the server refused every question; the ends of the logs say why. Most often "
            "generate.max_tokens leaves no room for the prompt within the model's context length. "
            f"Fix it, delete {', '.join(sorted({str(path.parent) for path in arguments.parts}))} and run again."
        )
    merge(wanted, arguments.parts, arguments.output)
    write_json(arguments.summary, summary.to_record())
    if arguments.answers and not summary.questions:
        print("every question was answered right at first: there is nothing to learn from.", file=sys.stderr)


def all_questions(data: Path) -> Iterator[Key]:
    """Every question of a data file, in its order."""
    for record in read_jsonl(data):
        for question in record["questions"]:
            yield Key(record["id"], question["index"])


def _asked_again(answers: Path, about: str) -> Iterator[Key]:
    """The questions of an answers file that step retry asks again, in its order; never those without a label."""
    return (row.key for row in read_answers(answers) if row.correct in ABOUT[about])


def merge(wanted: Iterable[Key], parts: Sequence[Path], output: Path) -> None:
    """Write the lines of the parts in the order of `wanted`; only their positions are in memory.

    Raises:
        Faults: a question is missing, is in two parts, or is not among those wanted.
    """
    places: dict[Key, tuple[int, int]] = {}
    faults = []
    for number, part in enumerate(parts):
        for place, key in read_places(part):
            if key in places:
                faults.append(f"{part}: {_name(key)} is also in {parts[places[key][0]]}")
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
                more = [f"and {len(faults) - _MANY} more"] if len(faults) > _MANY else []
                remedy = "delete the parts and run again; the journals keep what was generated."
                raise Faults(str(output), [*faults[:_MANY], *more], remedy)
    finally:
        for each in files:
            each.close()


def add_parts(summaries: Sequence[SummaryT]) -> SummaryT:
    """Add up what the parts counted.

    `wall_seconds` is the time in which at least one part asked, `server_seconds` that of all parts together.
    `saturated` is the mean of the parts, weighted by time.

    Raises:
        UserError: the parts were not made by the same step with the same template and method.
    """
    first = summaries[0]
    totals = {name: _add(name, [getattr(summary, name, None) for summary in summaries]) for name in first.figures()}
    total = replace(first, **totals, costs=_add_costs(summaries))  # type: ignore[type-var] # its classes are dataclasses
    if isinstance(total, RetrySummary):
        tokens, solved = total.costs.completion_tokens, total.solved
        total = replace(total, tokens_per_solved=round((tokens or 0) / solved, 1) if solved else None)
    return total


def _add(name: str, values: Sequence[Any]) -> Any:
    """Add up one figure of the parts. A part may not have it: it is empty, or of an earlier version."""
    known = [value for value in values if value is not None]
    texts = {value for value in known if isinstance(value, str)}
    if len(texts) > 1:
        raise UserError(
            f"the parts were made with different settings: {name} is {' and '.join(sorted(texts))}. "
            "Delete the parts and run again; the journals keep what was generated."
        )
    if texts:
        return texts.pop()
    if known and isinstance(known[0], list):
        return [sum(each) for each in zip(*known, strict=True)]
    return sum(known) if known else None


def _add_costs(summaries: Sequence[Summary]) -> Costs:
    costs = [summary.costs for summary in summaries]
    times, parts = RunTimes(), []
    asked = busy = 0.0
    for summary, cost in zip(summaries, costs, strict=True):
        if cost.runs is None:
            raise UserError("a summary is not of a part. Delete the parts and run again.")
        for started, until in cost.runs.runs:
            times.add(started, until)
        asked += cost.runs.asked_seconds
        busy += (cost.saturated or 0.0) * cost.runs.asked_seconds
        parts.append(
            PartCosts(
                part=cost.runs.part,
                questions=summary.questions,
                completion_tokens=cost.completion_tokens,
                wall_seconds=cost.wall_seconds,
                requests=cost.requests,
                saturated=cost.saturated,
            )
        )
    return Costs(
        prompt_tokens=_add("prompt_tokens", [cost.prompt_tokens for cost in costs]),
        cached_tokens=_add("cached_tokens", [cost.cached_tokens for cost in costs]),
        completion_tokens=_add("completion_tokens", [cost.completion_tokens for cost in costs]),
        wall_seconds=round(times.seconds, 3),
        requests=_add("requests", [cost.requests for cost in costs]),
        cancelled=_add("cancelled", [cost.cancelled for cost in costs]),
        saturated=round(busy / asked, 3) if asked else None,
        server_seconds=round(sum(cost.wall_seconds or 0 for cost in costs), 3),
        parts=tuple(parts),
    )


def _name(key: Key) -> str:
    return f"question {key.question} of problem {key.id!r}"
