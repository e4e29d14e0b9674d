"""Errors that are meant for the person who runs the workflow."""

from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix: the message names the file, line or key, and the remedy.

    `errata` prints it without a traceback and exits with status 1.
    """


class Faults(UserError):
    """All faults of an input, one a line, so that the user can fix them all before the next run.

    Args:
        what: the input, such as a path, for the heading.
        faults: one message for each fault, starting with `file:line:` if possible.
        remedy: how to fix them.
    """

    def __init__(self, what: str, faults: Iterable[str], remedy: str = "") -> None:
        self.faults = list(faults)
        count = len(self.faults)
        lines = [
            f"{what}: {count} fault{'' if count == 1 else 's'}",
            *(f"  {fault}" for fault in self.faults),
        ]
        if remedy:
            lines.append(f"Remedy: {remedy}")
        super().__init__("\n".join(lines))
