"""Step sample: ask a model every question of a split several times, so that step vote can count its answers."""

import argparse
from collections import Counter
from collections.abc import Iterator
from typing import Any

from errata.asking import prompts
from errata.asking.answer import add_arguments as add_answer_arguments
from errata.asking.completions import letter_of
from errata.asking.request_queue import DataFile, Location, RequestQueue
from errata.core.errors import UserError
from errata.core.files import write_json, write_jsonl
from errata.data.parts import ALL_PROBLEMS, Part, read_questions
from errata.data.records import Problem, Question
from errata.data.rows import Sample, SampleRow
from errata.data.summaries import SampleSummary
from errata.inference.dispatch import Utilization
from errata.inference.requests import Completion, Request
from errata.inference.session import Session
from errata.inference.totals import Totals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_answer_arguments(parser)
    parser.add_argument("--samples", type=int, required=True, help="completions of every question")


def run(arguments: argparse.Namespace) -> None:
    """Write the samples of every question in the order of the data; the journal's are not asked for again.

    Raises:
        UserError: `--samples` is below 1; the server cannot be started or reached, stopped answering, or refused all.
    """
    samples: int = arguments.samples
    if samples < 1:
        raise UserError(f"--samples {samples}: at least one completion is to be sampled (score.samples).")
    numbers = range(1, samples + 1)
    session = Session.from_arguments(arguments)
    template = prompts.read(arguments.prompt)

    def request(problem: Problem, question: Question, sample: int) -> Request:
        key = problem.key(question)
        return Request(key, sample, template.render(problem, question), session.sampling(key, sample))

    part: Part = arguments.part
    with DataFile(arguments.data) as data, session.open_journal() as journal:
        total = 0
        missing: list[Location] = []
        for offset, problem in part.take(data.problems()):
            for position, question in enumerate(problem.questions):
                total += samples
                missing += [
                    Location(problem.id, offset, position, sample)
                    for sample in numbers
                    if request(problem, question, sample) not in journal
                ]
        reused = total - len(missing)
        queue = RequestQueue(lambda location: request(*data.question(location), location.sample), missing, reused)
        utilization = session.ask(journal, queue, part.label("sample"), total) if missing else Utilization()
        # for a part, step gather decides: other parts may have succeeded
        if total and len(queue.failures) == total and part == ALL_PROBLEMS:
            raise queue.refused_all(arguments.model)
        totals = Totals()
        counts: Counter[str] = Counter()

        def records() -> Iterator[dict[str, Any]]:
            for problem, question in read_questions(arguments.data, part):
                sent = [request(problem, question, sample) for sample in numbers]
                completions = [journal.get(each) or queue.failures[each] for each in sent]
                row = SampleRow(
                    id=problem.id,
                    question=question.index,
                    template=template.digest,
                    prompt=sent[0].prompt,
                    expected=question.answer,
                    samples=tuple(_sample(completion, question.letters) for completion in completions),
                    model=arguments.model,
                )
                for completion in completions:
                    totals.add(completion)
                counts["questions"] += 1
                counts["samples"] += len(row.samples)
                counts["unreadable"] += all(sample.answer is None for sample in row.samples)
                counts["failed"] += all(sample.failed for sample in row.samples)
                yield row.to_record()

        write_jsonl(arguments.output, records())
        summary = SampleSummary(
            template=template.digest,
            questions=counts["questions"],
            samples=counts["samples"],
            unreadable=counts["unreadable"],
            failed=counts["failed"],
            failed_samples=totals.failed,
            truncated=totals.truncated,
            reused=reused,
            costs=totals.costs(journal, utilization, part),
        )
    write_json(arguments.summary, summary.to_record())


def _sample(completion: Completion, letters: str) -> Sample:
    return Sample(
        completion=completion.text,
        answer=letter_of(completion, letters),
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        finish_reason=completion.finish_reason,
        seconds=completion.seconds,
        error=completion.error if completion.failed else None,
    )
