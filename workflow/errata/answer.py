"""Step answer: ask a model every question of a split once."""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errata import prompts
from errata.cases import accepted
from errata.dispatch import ByProblem, Job, Load
from errata.errors import UserError
from errata.files import read_jsonl, write_json, write_jsonl
from errata.generation import Generation, Tally, add_serving_arguments
from errata.journal import Completion, Request
from errata.records import Key, Problem, Question


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="results/data/{split}.jsonl")
    parser.add_argument("--prompt", default="en", help=f"prompt template: {', '.join(prompts.NAMES)}")
    parser.add_argument("--output", type=Path, required=True, help="one line a question")
    parser.add_argument("--summary", type=Path, required=True, help="JSON: counts, tokens, seconds")
    add_serving_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the answers in the order of the data; completions that the journal holds are not asked for again.

    Raises:
        UserError: the server cannot be started or reached, stopped answering, or refused every single question.
    """
    generation = Generation.from_arguments(arguments)
    asked = questions(arguments.data)
    template = prompts.template(arguments.prompt)

    # made when it is needed and not kept: prompts take more memory than all the rest
    def request(problem: Problem, question: Question) -> Request:
        key = problem.key(question)
        return Request(key, 0, prompts.render(template, problem, question), generation.sampling(key, 0))

    with generation.journal() as journal:
        missing = [each for each in asked if request(*each) not in journal]
        reused = len(asked) - len(missing)
        work = Once(request, missing, reused)
        load = generation.ask(journal, work, "answer", len(asked)) if missing else Load()
        if work.failed and len(work.failed) == len(asked):
            message = next(iter(work.failed.values())).error
            raise UserError(
                f"{arguments.model}: the server refused every question ({message}). "
                "Most often generate.max_tokens leaves no room for the prompt within the model's context length."
            )
        tally = Tally()
        counts = dict.fromkeys(("questions", "correct", "unreadable"), 0)

        def rows() -> Iterator[dict[str, Any]]:
            for problem, question in asked:
                wanted = request(problem, question)
                completion = journal.get(wanted) or work.failed[wanted.key]
                row = _row(wanted, question, completion, arguments.model)
                tally.add(completion)
                counts["questions"] += 1
                counts["correct"] += row["correct"] is True
                counts["unreadable"] += row["answer"] is None
                yield row

        write_jsonl(arguments.output, rows())
        summary = {
            **counts,
            "truncated": tally.truncated,
            "failed": tally.failed,
            # completions that earlier runs had finished
            "reused": reused,
            **tally.summary(journal, load),
        }
    write_json(arguments.summary, summary)


def questions(data: Path) -> list[tuple[Problem, Question]]:
    """Every question of a data file beside its problem, in the file's order."""
    problems = (Problem.from_record(record) for record in read_jsonl(data))
    return [(problem, question) for problem in problems for question in problem.questions]


@dataclass(eq=False, slots=True)
class QuestionJob(Job):
    """A question under way."""

    problem: Problem
    question: Question


class Once:
    """Work for `errata.dispatch.dispatch`: every question once, those of one problem after each other."""

    def __init__(
        self, request: Callable[[Problem, Question], Request], missing: list[tuple[Problem, Question]], finished: int
    ) -> None:
        self._request = request
        self._queue = ByProblem((problem.id, (problem, question)) for problem, question in missing)
        self.failed: dict[Key, Completion] = {}
        self._failed: list[tuple[Problem, Question]] = []
        self.finished, self.truncated = finished, 0
        self.tokens = 0.0

    def remark(self) -> str:
        return f"{self.truncated} truncated, {len(self.failed)} failed"

    def next(self) -> QuestionJob | None:
        item = self._queue.take()
        return QuestionJob(self._request(*item), *item) if item else None

    def done(self, job: QuestionJob, completion: Completion) -> list[QuestionJob]:
        self._queue.release(job.problem.id)
        self.tokens += completion.completion_tokens
        self.truncated += completion.truncated
        if completion.failed:
            self.failed[job.request.key] = completion
            if not completion.refused:
                self._failed.append((job.problem, job.question))
        self.finished += 1
        return []

    def dropped(self, job: QuestionJob) -> None:
        self._queue.put_back(job.problem.id, (job.problem, job.question))

    def ask_failures_again(self) -> None:
        for problem, question in self._failed:
            del self.failed[problem.key(question)]
            self._queue.add(problem.id, (problem, question))
        self.finished -= len(self._failed)
        self._failed.clear()


def _row(request: Request, question: Question, completion: Completion, model: str) -> dict[str, Any]:
    answer = accepted(completion, question.letters)
    row = {
        "id": request.key.id,
        "question": request.key.question,
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
