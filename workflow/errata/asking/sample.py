"""Step sample: ask a model every question of a split several times, for the majority of its answers to be counted."""

import argparse
from collections.abc import Iterator
from typing import Any

from errata.asking import prompts
from errata.asking.answer import DataFile, Once, Place, QuestionJob, all_refused
from errata.asking.answer import add_arguments as add_asking_arguments
from errata.asking.cases import accepted
from errata.core.errors import UserError
from errata.core.files import write_json, write_jsonl
from errata.data.parts import ALL_PROBLEMS, Part, read_questions
from errata.data.records import Problem, Question
from errata.inference.dispatch import Load
from errata.inference.journal import Completion, Request
from errata.inference.session import Generation, Tally


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_asking_arguments(parser)
    parser.add_argument("--samples", type=int, required=True, help="completions of every question")


def run(arguments: argparse.Namespace) -> None:
    """Write the samples of every question in the order of the data; those that the journal holds are not asked again.

    Raises:
        UserError: no sample is wanted; the server cannot be started or reached, stopped answering, or refused all.
    """
    samples: int = arguments.samples
    if samples < 1:
        raise UserError(f"--samples {samples}: at least one completion is to be sampled (score.samples).")
    generation = Generation.from_arguments(arguments)
    template = prompts.read(arguments.prompt)

    def request(problem: Problem, question: Question, number: int) -> Request:
        key = problem.key(question)
        return Request(key, number, template.render(problem, question), generation.sampling(key, number))

    def requests(problem: Problem, question: Question) -> Iterator[Request]:
        return (request(problem, question, number) for number in range(1, samples + 1))

    part: Part = arguments.part
    with DataFile(arguments.data) as data, generation.journal() as journal:
        total = 0
        missing: list[Place] = []
        for line, problem in part.take(data.problems()):
            for number, question in enumerate(problem.questions):
                total += samples
                missing += [
                    _place(problem.id, line, number, wanted.attempt, samples)
                    for wanted in requests(problem, question)
                    if wanted not in journal
                ]

        def at(place: Place) -> Request:
            number, before = divmod(place.number, samples)
            return request(*data.at(place._replace(number=number)), before + 1)

        reused = total - len(missing)
        work = Samples(at, missing, reused)
        load = generation.ask(journal, work, part.label("sample"), total) if missing else Load()
        # of a part that is for step gather to say: the others may have gone well
        if total and len(work.failures) == total and part == ALL_PROBLEMS:
            raise all_refused(arguments.model, work.failures)
        tally = Tally()
        counts = dict.fromkeys(("questions", "samples", "unreadable", "failed"), 0)

        def rows() -> Iterator[dict[str, Any]]:
            for problem, question in read_questions(arguments.data, part):
                wanted = list(requests(problem, question))
                made = [journal.get(each) or work.failures[each] for each in wanted]
                row = _row(wanted[0], question, made, arguments.model, template.digest)
                for completion in made:
                    tally.add(completion)
                counts["questions"] += 1
                counts["samples"] += len(made)
                counts["unreadable"] += all(each["answer"] is None for each in row["completions"])
                counts["failed"] += all(each.failed for each in made)
                yield row

        write_jsonl(arguments.output, rows())
        summary = {
            "template": template.digest,
            # questions; `unreadable` has no sample that could be read, `failed` none at all
            **counts,
            # samples
            "failed_samples": tally.failed,
            "truncated": tally.truncated,
            "reused": reused,
            **tally.summary(journal, load, part),
        }
    write_json(arguments.summary, summary)


class Samples(Once):
    """Every sample of every question once, those of one question after each other.

    Attributes:
        failures: what the server gave no completion for.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.failures: dict[Request, Completion] = {}

    def done(self, job: QuestionJob, completion: Completion) -> list[QuestionJob]:
        if completion.failed:
            self.failures[job.request] = completion
        return super().done(job, completion)

    def ask_failures_again(self) -> None:
        self.failures = {request: each for request, each in self.failures.items() if each.refused}
        super().ask_failures_again()


def _place(id: str, line: int, number: int, sample: int, samples: int) -> Place:
    """Where a sample stands: samples are counted on over the questions of a problem."""
    return Place(id, line, number * samples + sample - 1)


def _row(
    request: Request, question: Question, completions: list[Completion], model: str, template: str
) -> dict[str, Any]:
    return {
        "id": request.key.id,
        "question": request.key.question,
        "template": template,
        "prompt": request.prompt,
        "expected": question.answer,
        "completions": [_sample(completion, question.letters) for completion in completions],
        "model": model,
    }


def _sample(completion: Completion, letters: str) -> dict[str, Any]:
    row = {
        "completion": completion.text,
        "answer": accepted(completion, letters),
        "prompt_tokens": completion.prompt_tokens,
        "completion_tokens": completion.completion_tokens,
        "finish_reason": completion.finish_reason,
        "seconds": completion.seconds,
    }
    return {**row, "error": completion.error} if completion.failed else row
