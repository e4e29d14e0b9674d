"""Messages of step train."""

import sys


def say(text: str) -> None:
    """Print a message for the user, who sees it on the terminal and in the rule's log."""
    print(f"train: {text}", file=sys.stderr, flush=True)
