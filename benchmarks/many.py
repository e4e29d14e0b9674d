"""Benchmark 5: many questions, and a journal of a million completions: time and memory as the number grows."""

import argparse
import hashlib
from pathlib import Path

import questions
from measure import ERRATA, HERE, PROMPT, ROOT, Cost, command, errata, machine, scratch, scripted, table

CHARACTERS = 248  # of the original's completions on average


def passes(folder: Path, numbers: list[int]) -> str:
    """Step answer over more and more questions, and again when all completions are in the journal."""
    rows = []
    with scripted("--delay", 0.05, "--tokens", 80, 80) as server:
        for number in numbers:
            data = questions.write(folder / f"{number}.jsonl", number)
            server.reset()
            first, _ = errata("answer", data, folder / str(number), server.base_url, *_flags())
            metrics = server.reset()
            assert metrics["answered"] == number, f"{metrics['answered']} of {number} questions were answered"
            size = (folder / str(number) / "answer.journal.jsonl").stat().st_size
            again, _ = errata("answer", data, folder / str(number), server.base_url, *_flags())
            assert server.reset()["requests"] == 0, "a completion of the journal was requested again"
            rows.append(
                (
                    f"{number:,}",
                    f"{first.wall:.1f}",
                    f"{number / metrics['request_seconds']:.0f}",
                    f"{1000 * first.cpu / number:.2f}",
                    f"{first.memory:.0f}",
                    f"{size / 2**20:.0f}",
                    f"{again.wall:.1f}",
                    f"{again.memory:.0f}",
                )
            )
    header = ["questions", "whole command, s", "questions/s asking", "CPU a question, ms", "peak memory, MiB"]
    return table([*header, "journal, MiB", "run again, s", "peak memory, MiB"], rows)


def _flags() -> list[str]:
    return ["--concurrency", "256", "--max-tokens", "1024", "--prompt", str(PROMPT)]


def journals(folder: Path, number: int) -> str:
    """Opening a journal, with usual and with ten times longer completions; an empty one shows what Python takes."""
    rows = []
    for label, lines, characters in (
        ("empty", 0, CHARACTERS),
        ("usual", number, CHARACTERS),
        ("ten times longer", number, 10 * CHARACTERS),
    ):
        path = folder / "journal.jsonl"
        _open(path, "--sample", str(characters))
        _multiply(path, lines)
        size = path.stat().st_size
        cost, seconds = _open(path)
        rows.append((label, f"{lines:,}", f"{size / 2**20:,.0f}", f"{seconds:.2f}", f"{cost.memory:.0f}"))
        path.unlink()
    return table(["completions", "number", "file, MiB", "to open, s", "peak memory, MiB"], rows)


def _multiply(path: Path, number: int) -> None:
    """Repeat the journal's only completion so many times, each with another digest."""
    lines = path.read_bytes().splitlines(keepends=True)
    line = next(line for line in lines if line.startswith(b'{"digest"'))
    digest = line.split(b'"')[3]
    opening = lines[: lines.index(line)]
    with path.open("wb") as file:
        file.writelines(opening)
        for index in range(number):
            other = hashlib.sha256(str(index).encode()).hexdigest()[: len(digest)]
            file.write(line.replace(digest, other.encode(), 1))


def _open(path: Path, *flags: str) -> tuple[Cost, float]:
    log = path.with_suffix(".log")
    script = [ERRATA, HERE / "peers" / "open_journal.py", path, *flags]
    cost = command(script, log, {"PYTHONPATH": str(ROOT / "workflow")})
    return cost, float(log.read_text().split()[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--completions", type=int, default=1_000_000, help="in the journal; 0 skips this table")
    arguments = parser.parse_args()
    print(f"{machine()}\n", flush=True)
    with scratch() as folder:
        if arguments.questions:
            print("Step answer, concurrency 256, replies after 0.05 s\n")
            print(passes(folder, arguments.questions), flush=True)
        if arguments.completions:
            print("Opening a journal\n")
            print(journals(folder, arguments.completions))


if __name__ == "__main__":
    main()
