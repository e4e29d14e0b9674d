"""Step answer: ask a model every question of a split once."""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Self

from errata.asking import prompts
from errata.asking.cases import accepted
from errata.core.errors import UserError
from errata.core.files import cannot_read, read_jsonl_places, write_json, write_jsonl
from errata.data.parts import ALL_PROBLEMS, Part, add_part_argument, read_questions
from errata.data.records import Key, Problem, Question
from errata.inference.dispatch import ByProblem, Job, Load
from errata.inference.journal import Completion, Request
from errata.inference.session import Generation, Tally, add_serving_arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="results/data/{split}.jsonl")
    parser.add_argument("--prompt", type=Path, required=True, help="prompt template, config/prompts/*/answer*.txt")
    add_part_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="one line a question")
    parser.add_argument("--summary", type=Path, required=True, help="JSON: counts, tokens, seconds")
    add_serving_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the answers in the order of the data; completions that the journal holds are not asked for again.

    Raises:
        UserError: the server cannot be started or reached, stopped answering, or refused every single question.
    """
    generation = Generation.from_arguments(arguments)
    template = prompts.read(arguments.prompt)

    def request(problem: Problem, question: Question) -> Request:
        key = problem.key(question)
        return Request(key, 0, template.render(problem, question), generation.sampling(key, 0))

    part: Part = arguments.part
    with DataFile(arguments.data) as data, generation.journal() as journal:
        total = 0
        missing: list[Place] = []
        for place, problem in part.take(data.problems()):
            total += len(problem.questions)
            missing += [
                Place(problem.id, place, number)
                for number, question in enumerate(problem.questions)
                if request(problem, question) not in journal
            ]
        reused = total - len(missing)
        work = Once(lambda place: request(*data.at(place)), missing, reused)
        load = generation.ask(journal, work, part.label("answer"), total) if missing else Load()
        # of a part that is for step gather to say: the others may have gone well
        if work.failed and len(work.failed) == total and part == ALL_PROBLEMS:
            raise all_refused(arguments.model, work.failed)
        tally = Tally()
        counts = dict.fromkeys(("questions", "correct", "unreadable"), 0)

        def rows() -> Iterator[dict[str, Any]]:
            for problem, question in read_questions(arguments.data, part):
                wanted = request(problem, question)
                completion = journal.get(wanted) or work.failed[wanted.key]
                row = _row(wanted, question, completion, arguments.model, template.digest)
                tally.add(completion)
                counts["questions"] += 1
                counts["correct"] += row["correct"] is True
                counts["unreadable"] += row["answer"] is None
                yield row

        write_jsonl(arguments.output, rows())
        summary = {
            "template": template.digest,
            **counts,
            "truncated": tally.truncated,
            "failed": tally.failed,
            # completions that earlier runs had finished
            "reused": reused,
            **tally.summary(journal, load, part),
        }
    write_json(arguments.summary, summary)


def all_refused(model: str, failures: Mapping[Any, Completion]) -> UserError:
    """The message for a server that gave no completion at all."""
    message = next(iter(failures.values())).error
    return UserError(
        f"{model}: the server refused every question ({message}). "
        "Most often generate.max_tokens leaves no room for the prompt within the model's context length."
    )


class Place(NamedTuple):
    """Where a question stands: the problem, the byte at which its line starts, and the question's place in it."""

    id: str
    line: int
    number: int


class DataFile:
    """A data file whose problems are read when they are asked about: all their texts would take most of the memory.

    Raises:
        UserError: it cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        # the questions of a problem follow each other
        self._problem = lru_cache(maxsize=4096)(self._read)

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("rb")
        except OSError as error:
            raise cannot_read(self._path, error) from error
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def problems(self) -> Iterator[tuple[int, Problem]]:
        """Every problem, with the byte at which its line starts."""
        return ((place, Problem.from_record(record)) for place, record in read_jsonl_places(self._path))

    def at(self, place: Place) -> tuple[Problem, Question]:
        """The question that stands there."""
        problem = self._problem(place.line)
        return problem, problem.questions[place.number]

    def _read(self, line: int) -> Problem:
        self._file.seek(line)
        return Problem.from_record(json.loads(self._file.readline()))


@dataclass(eq=False, slots=True)
class QuestionJob(Job):
    """A question under way."""

    place: Place


class Once:
    """Work for `errata.inference.dispatch.dispatch`: every question once, those of one problem after each other.

    Args:
        request: for the question at a place; made when it goes out.
        missing: what is to be asked.
        finished: how many questions are not.
    """

    def __init__(self, request: Callable[[Place], Request], missing: list[Place], finished: int) -> None:
        self._request = request
        self._queue = ByProblem((place.id, place) for place in missing)
        self.failed: dict[Key, Completion] = {}
        self._failed: list[Place] = []
        self.finished, self.truncated = finished, 0
        self.tokens = 0.0

    def remark(self) -> str:
        return f"{self.truncated} truncated, {len(self.failed)} failed"

    def next(self) -> QuestionJob | None:
        place = self._queue.take()
        return QuestionJob(self._request(place), place) if place else None

    def done(self, job: QuestionJob, completion: Completion) -> list[QuestionJob]:
        self._queue.release(job.place.id)
        self.tokens += completion.completion_tokens
        self.truncated += completion.truncated
        if completion.failed:
            self.failed[job.request.key] = completion
            if not completion.refused:
                self._failed.append(job.place)
        self.finished += 1
        return []

    def dropped(self, job: QuestionJob) -> None:
        self._queue.put_back(job.place.id, job.place)

    def ask_failures_again(self) -> None:
        for place in self._failed:
            self._queue.add(place.id, place)
        self.failed = {key: completion for key, completion in self.failed.items() if completion.refused}
        self.finished -= len(self._failed)
        self._failed.clear()


def _row(request: Request, question: Question, completion: Completion, model: str, template: str) -> dict[str, Any]:
    answer = accepted(completion, question.letters)
    row = {
        "id": request.key.id,
        "question": request.key.question,
        "template": template,
        "prompt": request.prompt,
        "completion": completion.text,
        "answer": answer,
        "expected": question.answer,
        "correct": None if question.answer is None else answer == question.answer,
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "finish_reason": completion.finish_reason,
        "seconds": completion.seconds,
        "model": model,
    }
    return {**row, "error": completion.error} if completion.failed else row
