"""A made-up run with every kind of file that the report reads. It needs no model."""

import json
import random
from pathlib import Path
from typing import Any

from errata.__main__ import main

NASTY = '<script>alert(1)</script> \x1b[31mred\x1b[0m \x00 \ud83d half & "quoted" \'--> </pre> \u202e rtl'
SERVED = {
    "base": "llama.cpp, the GGUF as shipped",
    "self": "llama.cpp, f16 GGUF",
    "self-4bit": "llama.cpp, f16 GGUF of the dequantized weights: same figures, not the same memory",
    "self-3bit": "llama.cpp, f16 GGUF of the dequantized weights: same figures, not the same memory",
}
SIZES = {"base": 0.2508, "self": 0.2508, "self-4bit": 0.1187, "self-3bit": 0.0968}


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


class Run:
    """A made-up results folder. All random draws come from one seed."""

    def __init__(self, folder: Path, budgets: dict[str, float] | None = None) -> None:
        self.folder = folder
        self.results = folder / "results"
        self.scores: list[Path] = []
        self.config: dict[str, Any] = {
            "dataset": {"train": "train.jsonl", "test": "test.jsonl", "language": "en"},
            "models": {
                "smollm2-135m": {
                    "engine": "endpoint",
                    "base_url": "x://me:pw@host/v1",
                    "serve": {"api_key": "hunter2"},
                }
            },
            "strategies": ["self"],
            "generate": {"attempts": 6, "seed": 42},
            "memory_budget_gib": {"3": 32, "4": 40} if budgets is None else budgets,
        }
        self.random = random.Random(7)

    def score(
        self,
        variant: str,
        split: str,
        right: list[bool],
        *,
        model: str = "smollm2-135m",
        labelled: bool = True,
        completion: str | None = None,
        finish_reason: str | None = None,
        tokens: int = 40,
        **summary: Any,
    ) -> None:
        """Write answers, and score them with the real step.

        Args:
            right: whether each answer is right.
            completion: the text of every completion; otherwise a text that names variant and answer.
            finish_reason: of every completion; otherwise `length` for unreadable answers and `stop` for the others.
            tokens: completion tokens of each answer.
            summary: further figures of the summary beside the answers.
        """
        rows = []
        for place, hit in enumerate(right):
            expected = "ABC"[place % 3]
            wrong = None if self.random.random() < 0.2 else "ABC"[(place + 1) % 3]
            answer = expected if hit else wrong
            text = f"{variant} reasons: the book stands left of the lamp.\nThe answer is {answer or 'hard to say'}."
            rows.append(
                {
                    "id": f"{split}-{place // 3:03d}",
                    "question": place % 3,
                    "prompt": f"Solve the puzzle. 题目 {place}\n\nWhich is leftmost?\nA. book\nB. lamp\nC. cup",
                    "completion": completion or text,
                    "answer": answer,
                    "expected": expected if labelled else None,
                    "correct": hit if labelled else None,
                    "prompt_tokens": 120,
                    "completion_tokens": tokens,
                    "finish_reason": finish_reason or ("length" if answer is None else "stop"),
                    "seconds": 1.5,
                    "model": model,
                }
            )
        output = self.results / model / "scores" / variant / f"{split}.json"
        answers = output.with_suffix(".jsonl")
        write_lines(answers, rows)
        output.with_suffix(".summary.json").write_text(json.dumps({"wall_seconds": 95.3, **summary}))
        flags = ["--model", model, "--variant", variant, "--split", split, "--served", SERVED.get(variant, "vLLM")]
        assert main(["score", "--answers", str(answers), *flags, "--output", str(output)]) == 0
        scored = json.loads(output.read_text())
        output.write_text(json.dumps({**scored, "weights_gib": SIZES.get(variant, 1.0)}))
        self.scores.append(output)

    def draw(self, count: int, share: float) -> list[bool]:
        """Draw for so many answers whether they are right.

        Args:
            share: the expected share of right ones.
        """
        return [self.random.random() < share for _ in range(count)]

    def retries(self, strategy: str = "self", model: str = "smollm2-135m") -> None:
        """Write the retries of 40 questions with four outcomes, and the first answers of base with their prompts."""
        rows = []
        first = []
        for place in range(40):
            expected = "ABC"[place % 3]
            outcome = "solved" if place % 2 else ("exhausted", "unreadable", "failed")[place // 2 % 3]
            tries = {"solved": 1 + place % 5, "failed": 0}.get(outcome, 6)
            attempts = [
                {
                    "completion": NASTY if place < 2 else f"attempt {number} at it",
                    "answer": expected if (hit := outcome == "solved" and number == tries) else None,
                    "correct": hit,
                    "completion_tokens": 9,
                    "finish_reason": "stop" if hit else "length",
                }
                for number in range(1, tries + 1)
            ]
            row = {"id": f"train-{place:03d}", "question": 0, "expected": expected, "first": None}
            rows.append({**row, "outcome": outcome, "attempts": attempts})
            first.append(
                {
                    **row,
                    "prompt": f"Prompt of train-{place:03d}",
                    "completion": "I do not know",
                    "answer": None,
                    "correct": False,
                }
            )
        write_lines(self.results / model / "retries" / f"{strategy}.jsonl", rows)
        write_lines(self.results / model / "answers" / "train.jsonl", first)

    def training(self, strategy: str = "self", model: str = "smollm2-135m") -> None:
        """Write a training log, whose last line is cut off."""
        path = self.results / model / "adapter" / strategy / "trainer_log.jsonl"
        lines = [
            {"current_steps": s, "total_steps": 60, "loss": 2.2 / s**0.4, "epoch": s / 20} for s in range(2, 61, 2)
        ]
        lines += [{"current_steps": s, "eval_loss": 2.3 / s**0.35} for s in range(10, 61, 10)]
        write_lines(path, [*lines, {"current_steps": 60, "total_steps": 60, "percentage": 100.0}])
        with path.open("a") as file:
            file.write('{"current_steps": 62, "lo')

    def benchmarks(self) -> None:
        """Write the benchmark files of four jobs."""
        head = "s\th:m:s\tmax_rss\tmax_vms\tmean_load\tcpu_time\n"
        for name, seconds in (("smollm2-135m/answer/train", 61.5), ("smollm2-135m/train/self", 127.0), ("report", 0.4)):
            path = self.results / "benchmarks" / f"{name}.tsv"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{head}{seconds}\t0:01:01\t2048.0\t9.0\t150.0\t{seconds * 1.5}\n")
        (self.results / "benchmarks" / "short.tsv").write_text(f"{head}0.1\t0:00:00\t-\t-\t-\tNA\n")

    def write_config(self) -> str:
        """Write the configuration to a file.

        Returns:
            The file's path.
        """
        path = self.folder / "config.json"
        path.write_text(json.dumps(self.config))
        return str(path)

    def report(self, *more: str) -> str:
        """Run step report.

        Args:
            more: further arguments.

        Returns:
            The page.
        """
        flags = ["--scores", *map(str, self.scores), "--config", self.write_config(), "--results", str(self.results)]
        outputs = ["--leaderboard", str(self.results / "leaderboard.csv"), "--output", str(self.page)]
        assert main(["report", *flags, *outputs, *more]) == 0
        return self.page.read_text(encoding="utf-8")

    @property
    def page(self) -> Path:
        return self.results / "report.html"


def whole_run(folder: Path, budgets: dict[str, float] | None = None) -> Run:
    """One model with a strategy, two quantized variants, retries, training and benchmarks."""
    run = Run(folder, budgets)
    base = [place % 4 == 0 for place in range(200)]
    tuned = [hit if run.random.random() < 0.7 else run.random.random() < 0.8 for hit in base]
    for variant, test in (("base", base), ("self", tuned), ("self-4bit", tuned), ("self-3bit", run.draw(200, 0.3))):
        run.score(variant, "test", test)
        run.score(variant, "train", run.draw(120, 0.4))
    run.retries()
    run.training()
    run.benchmarks()
    return run


def strategy(method: str, **settings: Any) -> dict[str, Any]:
    """The options of a strategy, all of them, as in a completed configuration."""
    unset = {
        "questions": "wrong",
        "teacher": None,
        "keep": None,
        "replay": 0,
        "pairs": 1,
        "start_from": None,
        "train": {},
    }
    return {"method": method, **unset, "rounds": 1, **settings}
