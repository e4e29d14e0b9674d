"""Step answer: ask a model every question of a split once."""

import argparse
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from errata.asking import prompts
from errata.asking.completions import letter_of
from errata.asking.request_queue import DataFile, Location, RequestQueue
from errata.core.files import write_json, write_jsonl
from errata.data.parts import ALL_PROBLEMS, Part, add_part_argument, read_questions
from errata.data.records import Problem, Question
from errata.data.rows import AnswerRow
from errata.data.summaries import AnswerSummary
from errata.inference.dispatch import Utilization
from errata.inference.requests import Completion, Request
from errata.inference.session import Session, add_serving_arguments
from errata.inference.totals import Totals


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="results/data/{split}.jsonl")
    parser.add_argument("--prompt", type=Path, required=True, help="prompt template, config/prompts/*/answer*.txt")
    add_part_argument(parser)
    parser.add_argument("--output", type=Path, required=True, help="one line a question")
    parser.add_argument("--summary", type=Path, required=True, help="JSON: counts, tokens, seconds")
    add_serving_arguments(parser)


def run(arguments: argparse.Namespace) -> None:
    """Write the answers in the order of the data; completions that the journal has are not asked for again.

    Raises:
        UserError: the server cannot be started or reached, stopped answering, or refused every single question.
    """
    session = Session.from_arguments(arguments)
    template = prompts.read(arguments.prompt)

    def request(problem: Problem, question: Question) -> Request:
        key = problem.key(question)
        return Request(key, 0, template.render(problem, question), session.sampling(key, 0))

    part: Part = arguments.part
    with DataFile(arguments.data) as data, session.open_journal() as journal:
        total = 0
        missing: list[Location] = []
        for offset, problem in part.take(data.problems()):
            total += len(problem.questions)
            missing += [
                Location(problem.id, offset, position)
                for position, question in enumerate(problem.questions)
                if request(problem, question) not in journal
            ]
        reused = total - len(missing)
        queue = RequestQueue(lambda location: request(*data.question(location)), missing, reused)
        utilization = session.ask(journal, queue, part.label("answer"), total) if missing else Utilization()
        # for a part, step gather decides: other parts may have succeeded
        if queue.failures and len(queue.failures) == total and part == ALL_PROBLEMS:
            raise queue.refused_all(arguments.model)
        totals = Totals()
        counts: Counter[str] = Counter()

        def records() -> Iterator[dict[str, Any]]:
            for problem, question in read_questions(arguments.data, part):
                sent = request(problem, question)
                completion = journal.get(sent) or queue.failures[sent]
                row = _row(sent, question, completion, arguments.model, template.digest)
                totals.add(completion)
                counts["questions"] += 1
                counts["correct"] += row.correct is True
                counts["unreadable"] += row.answer is None
                yield row.to_record()

        write_jsonl(arguments.output, records())
        summary = AnswerSummary(
            template=template.digest,
            questions=counts["questions"],
            correct=counts["correct"],
            unreadable=counts["unreadable"],
            truncated=totals.truncated,
            failed=totals.failed,
            reused=reused,
            costs=totals.costs(journal, utilization, part),
        )
    write_json(arguments.summary, summary.to_record())


def _row(request: Request, question: Question, completion: Completion, model: str, template: str) -> AnswerRow:
    answer = letter_of(completion, question.letters)
    return AnswerRow(
        id=request.key.id,
        question=request.key.question,
        template=template,
        prompt=request.prompt,
        completion=completion.text,
        answer=answer,
        expected=question.answer,
        correct=None if question.answer is None else answer == question.answer,
        prompt_tokens=completion.prompt_tokens,
        completion_tokens=completion.completion_tokens,
        finish_reason=completion.finish_reason,
        seconds=completion.seconds,
        model=model,
        error=completion.error if completion.failed else None,
    )
