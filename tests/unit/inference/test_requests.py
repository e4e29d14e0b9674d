"""Requests: the digest by which a completion is found again, and the messages that a server gets."""

from hypothesis import given
from hypothesis import strategies as st
from test_journal import TEXTS, request

from errata.data.records import Key
from errata.inference.requests import Request, Sampling


@given(st.lists(TEXTS, max_size=4))
def test_a_digest_depends_on_every_part_and_on_nothing_else(parts: list[str]) -> None:
    seen = {request(prompt=part).digest("m") for part in parts}
    assert len(seen) == len(set(parts))
    assert seen == {request(prompt=part).digest("m") for part in parts}
    histories = {tuple(parts[:end]) for end in range(len(parts) + 1)}
    assert len({request(history=history).digest("m") for history in histories}) == len(histories)


def test_completions_from_before_requests_had_a_history_are_still_found() -> None:
    request = Request(Key("张", 1), 2, '题 "?"\n', Sampling(64, 0.8, 0.9, 7))
    assert request.digest("m").hex() == "e5631494a70764303ebd59f3337643b5"


def test_the_messages_are_the_history_and_then_the_prompt() -> None:
    assert request(prompt="?").messages == [{"role": "user", "content": "?"}]
    assert request(prompt="Why?", history=("1 + 1?", "3")).messages == [
        {"role": "user", "content": "1 + 1?"},
        {"role": "assistant", "content": "3"},
        {"role": "user", "content": "Why?"},
    ]
