"""Step answer: ask a model every question of a split once."""

import argparse
from pathlib import Path
from typing import Any

from errata import prompts
from errata.client import Client, for_each
from errata.errors import UserError
from errata.files import read_jsonl, write_json, write_jsonl
from errata.generation import Generation, add_serving_arguments
from errata.journal import Completion, Journal, Request
from errata.progress import Progress
from errata.reading import read_answer
from errata.records import Problem, Question
from errata.server import Server


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
    text = prompts.template(arguments.prompt)
    requests = {
        problem.key(question): Request(
            problem.key(question),
            0,
            prompts.render(text, problem, question),
            generation.sampling(problem.key(question), 0),
        )
        for problem, question in asked
    }
    with generation.journal() as journal:
        missing = [request for request in requests.values() if journal.get(request) is None]
        reused = len(requests) - len(missing)
        failed: dict[Request, Completion] = {}
        seconds = _ask_all(generation, journal, missing, len(requests), failed) if missing else 0.0
        if failed and len(failed) == len(requests):
            message = next(iter(failed.values())).error
            raise UserError(
                f"{arguments.model}: the server refused every question ({message}). "
                "Most often generate.max_tokens leaves no room for the prompt within the model's context length."
            )
        rows = []
        for problem, question in asked:
            request = requests[problem.key(question)]
            completion = journal.get(request) or failed[request]
            rows.append(_row(request, question, completion, arguments.model))
    write_jsonl(arguments.output, rows)
    write_json(arguments.summary, _summary(rows, reused, seconds))


def questions(data: Path) -> list[tuple[Problem, Question]]:
    """Every question of a data file beside its problem, in the file's order."""
    problems = (Problem.from_record(record) for record in read_jsonl(data))
    return [(problem, question) for problem in problems for question in problem.questions]


def accepted(completion: Completion, letters: str) -> str | None:
    """The answer of a completion; a truncated or failed one has none, whatever stands in it."""
    return None if completion.finish_reason in {"length", "error"} else read_answer(completion.text, letters)


def _ask_all(
    generation: Generation,
    journal: Journal,
    missing: list[Request],
    total: int,
    failed: dict[Request, Completion],
) -> float:
    progress = Progress(f"answer {generation.server.model}", total, total - len(missing))
    tokens = 0

    async def work(client: Client, server: Server) -> None:
        async def one_after_the_other(requests: list[Request]) -> None:
            nonlocal tokens
            for request in requests:
                completion = await client.complete(request)
                if completion.failed:
                    failed[request] = completion
                tokens += completion.completion_tokens
                progress.step(f"{tokens} tokens, {len(failed)} failed")

        await for_each(
            _by_problem(missing, generation.concurrency), one_after_the_other, generation.concurrency, server
        )

    seconds = generation.ask(journal, work)
    progress.close(f"{tokens} tokens, {len(failed)} failed")
    return seconds


def _by_problem(requests: list[Request], concurrency: int) -> list[list[Request]]:
    """Questions of one problem follow each other, so that the server still has the problem in its prefix cache.

    With fewer problems than requests at once they would keep the server waiting: then each question stands alone.
    """
    groups: dict[str, list[Request]] = {}
    for request in requests:
        groups.setdefault(request.key.id, []).append(request)
    return list(groups.values()) if len(groups) >= concurrency else [[request] for request in requests]


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


def _summary(rows: list[dict[str, Any]], reused: int, seconds: float) -> dict[str, Any]:
    return {
        "questions": len(rows),
        "correct": sum(row["correct"] is True for row in rows),
        "unreadable": sum(row["answer"] is None for row in rows),
        "truncated": sum(row["finish_reason"] == "length" for row in rows),
        "failed": sum(row["finish_reason"] == "error" for row in rows),
        "prompt_tokens": sum(row["prompt_tokens"] for row in rows),
        "completion_tokens": sum(row["completion_tokens"] for row in rows),
        # completions that an earlier, interrupted run had finished; the seconds are then not those of all
        "reused": reused,
        "wall_seconds": round(seconds, 3) if not reused else None,
    }
