"""Open a journal of Errata and print how long that took; `--sample N` adds a completion of N characters."""

import argparse
import time
from pathlib import Path

from errata.data.records import Key
from errata.inference.journal import Journal
from errata.inference.requests import Completion, Request, Sampling


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", type=Path)
    parser.add_argument("--sample", type=int)
    arguments = parser.parse_args()
    start = time.monotonic()
    with Journal(arguments.path, "a model") as journal:
        seconds = time.monotonic() - start
        if arguments.sample:
            request = Request(Key("p1", 0), 0, "a prompt", Sampling(1024, 0.0, 1.0, 1))
            journal.add(request, Completion("so " * (arguments.sample // 3), "stop", 180, 62, 0.2))
        print(len(journal), seconds)


if __name__ == "__main__":
    main()
