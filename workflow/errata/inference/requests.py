"""Requests to a model and its completions."""

import hashlib
import json
from dataclasses import dataclass

from errata.data.records import Key
from errata.data.rows import Ending


@dataclass(frozen=True)
class Sampling:
    """How a completion is sampled. A completion is reused only for exactly the same sampling.

    Attributes:
        max_tokens: limit of the completion, in tokens.
        temperature: 0 is greedy.
        top_p: nucleus sampling; 1 is off.
        seed: of this request alone.
    """

    max_tokens: int
    temperature: float
    top_p: float
    seed: int


@dataclass(frozen=True)
class Request:
    """A request for one completion.

    Attributes:
        attempt: its number from 0; it makes equal requests for one question differ.
        history: the turns before the prompt, alternately of the user and of the model; the user begins.
    """

    key: Key
    attempt: int
    prompt: str
    sampling: Sampling
    history: tuple[str, ...] = ()

    def digest(self, model: str) -> bytes:
        """The 16 bytes under which the journal keeps the completion.

        Args:
            model: identity of the weights.
        """
        parts = [model, *self.key, self.attempt, self.prompt, vars(self.sampling)]
        # left out if empty: completions from before there were histories must be found again
        if self.history:
            parts.append(self.history)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).digest()[:16]

    @property
    def messages(self) -> list[dict[str, str]]:
        """The messages for the server: the turns of the history, then the prompt."""
        turns = (*self.history, self.prompt)
        return [{"role": ("user", "assistant")[place % 2], "content": turn} for place, turn in enumerate(turns)]


@dataclass(frozen=True)
class Completion(Ending):
    """The server's answer to a request.

    Attributes:
        finish_reason: see `errata.data.rows.Ending`.
        seconds: from sending the request to the end of the answer.
        cached_tokens: prompt tokens that the server still had from earlier requests; None if it does not say.
        error: the server's message if it gave no completion.
        refused: the server will never answer this request, e.g. because it is too long: asking again is useless.
    """

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cached_tokens: int | None = None
    error: str = ""
    refused: bool = False
