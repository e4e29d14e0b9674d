"""Benchmark 2: asking the first-wrong questions until right. Errata's step retry against a client like the original's.

The original sleeps 60 s after every wrong answer, which takes too long here. Its client therefore runs with a shorter
pause, and its time with the real pause is calculated by simulating its 8 threads with the same answers. For the shorter
pause the time is calculated and measured, which shows that the calculation is right.
"""

import argparse
import heapq
import json
from pathlib import Path
from typing import Any

from measure import HERE, PEERS, command, errata, machine, scratch, scripted, table
from wrong import FLAGS, first_answers, requests, solved

ATTEMPTS = 6
THREADS = 8
REAL_PAUSE = 60.0


def calculate(tries: list[tuple[int, int]], call: float, pause: float) -> float:
    """Seconds that 8 threads take for questions in their order, given (calls, wrong answers) of each."""
    threads = [0.0] * THREADS
    for calls, wrong in tries:
        heapq.heapreplace(threads, threads[0] + calls * call + wrong * pause)
    return max(threads)


def ours(folder: Path, data: Path, answers: Path, delay: float) -> tuple[float, dict[str, Any]]:
    """Seconds of Errata's whole command, and its summary. `--hedging 0` would ask strictly one after the other."""
    with scripted("--delay", delay) as server:
        flags = ["--answers", answers, "--attempts", ATTEMPTS, "--concurrency", 256, *FLAGS]
        cost, summary = errata("retry", data, folder / f"retry-{delay}", server.base_url, *flags)
    return cost.wall, summary


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--questions", type=int, default=1415)
    parser.add_argument("--pause", type=float, default=0.6, help="scaled pause, seconds")
    parser.add_argument("--delay", type=float, default=0.5, help="seconds of a reply in the measured runs")
    parser.add_argument("--long-delay", type=float, default=5.0, help="seconds of a reply as slow as a 70B model's")
    arguments = parser.parse_args()
    print(f"{machine('openai')}\n", flush=True)
    with scratch() as folder:
        data, answers = first_answers(folder, arguments.questions)
        file = folder / "requests.jsonl"
        cases = list(requests(data, answers, ATTEMPTS))
        file.write_text("".join(json.dumps(case) + "\n" for case in cases), encoding="utf-8")
        seconds = {delay: ours(folder, data, answers, delay)[0] for delay in (arguments.delay, arguments.long_delay)}
        with scripted("--delay", arguments.delay) as server:
            peer = [
                PEERS / "python",
                HERE / "peers" / "original.py",
                "--requests",
                file,
                "--output",
                folder / "peer.json",
            ]
            peer += ["--base-url", server.base_url, "--pause", str(arguments.pause)]
            measured = command(peer, folder / "peer.log").wall
            asked = server.reset()["requests"]
        theirs = json.loads((folder / "peer.json").read_text())
        right = {(row["id"], row["question"]) for row in theirs if row["right"]}
        for delay in seconds:  # all get the same answers
            assert right == solved(folder / f"retry-{delay}" / "retry.jsonl"), "not the same questions were solved"
        print(f"{len(cases)} first-wrong questions of {arguments.questions}, {len(right)} solved by both; ", end="")
        print(f"the original's client asked {asked} times\n")
    tries = [(row["wrong"] + row["right"], row["wrong"]) for row in theirs]
    rows = []
    for delay, pause in (
        (arguments.delay, arguments.pause),
        (arguments.delay, REAL_PAUSE),
        (arguments.long_delay, REAL_PAUSE),
    ):
        expected = calculate(tries, delay, pause)
        scaled = pause == arguments.pause
        rows.append(
            (
                "scaled pause, measured" if scaled else "real pause, calculated",
                delay,
                pause,
                f"{expected:.0f}",
                f"{measured:.0f}" if scaled else "",
                f"{seconds[delay]:.1f}",
                f"{(measured if scaled else expected) / seconds[delay]:.0f}",
            )
        )
    header = ["", "reply, s", "pause, s", "original's client, calculated, s", "measured, s"]
    print(table([*header, "Errata, whole command, s", "times faster"], rows))


if __name__ == "__main__":
    main()
