"""Step retry by the methods that tell the answer: what is asked, what is accepted, what is asked again."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asking import Asking
from errata.cases import Case, Trial, usable
from errata.journal import Completion, Request, Sampling
from errata.methods import Method
from errata.prompts import Template, read
from errata.records import Key, Question
from errata.retry import take_known
from errata.until_right import UntilRight
from helpers import PROMPTS, indexed, problem, write_jsonl
from servers import ScriptedServer, Start

CONCLUDE = "Conclude: The answer is"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errata.client._PAUSE", 0.01)


def first_answers(asking: Asking, **letters: str | None) -> None:
    """Problems of one question each, whose right answer is A, with the first answers to them; "-" has no label."""
    labels = {id: None if letter == "-" else "A" for id, letter in letters.items()}
    write_jsonl(asking.data, indexed(*(problem(id, label) for id, label in labels.items())))
    rows = [
        {
            "id": id,
            "question": 0,
            "template": "feedfeedfeed",
            "prompt": f"[{id}]",
            "completion": f"First thoughts on {id}. The answer is {letter}",
            "answer": letter,
            "expected": labels[id],
            "correct": None if labels[id] is None else letter == "A",
        }
        for id, letter in letters.items()
    ]
    write_jsonl(asking.answers, rows)


def flags(asking: Asking, method: str) -> dict[str, Any]:
    """The flags of a method, with short templates of its own."""
    prompts = {
        "distill": "{problem}|{question}|{options}|It is {answer}.",
        "reflect": "Wrong, it is {answer}.",
        "conclude": CONCLUDE,
    }
    for name, text in prompts.items():
        (asking.folder / f"{name}.txt").write_text(text)
    given: dict[str, Any] = {
        "method": method,
        "prompt": asking.folder / f"{method}.txt",
        "hedging": 0,
        "concurrency": 1,
    }
    return given | ({"conclude": asking.folder / "conclude.txt"} if method == "reflect" else {})


def rule(match: str, *replies: Any) -> dict[str, Any]:
    return {"match": match, "replies": [{"content": each} if isinstance(each, str) else each for each in replies]}


def verified(reasoning: str, *replies: Any) -> dict[str, Any]:
    """A rule for the request that verifies a reasoning."""
    return rule(f"{reasoning}\n{CONCLUDE}", *replies)


def asked_to_conclude(server: ScriptedServer) -> int:
    return sum(request["prompt"].endswith(CONCLUDE) for request in server.seen())


# --- distill


def test_a_teacher_is_told_the_answer_and_asked_again_when_it_gives_that_away(asking: Asking, scripted: Start) -> None:
    first_answers(asking, slip="B", never="C", wrong="D", right="A")
    told = "As given, the correct answer is A."
    server = scripted(
        rules=[
            rule("of slip?", told, "Ann is older. The answer is A"),
            rule("of never?", told),
            rule("of wrong?", "The answer is B"),
        ]
    )
    done = asking.retry(server.base_url, attempts=2, **flags(asking, "distill"))
    rows = {row["id"]: row for row in done.rows}
    assert {id: row["outcome"] for id, row in rows.items()} == {
        "slip": "solved",
        "never": "rejected",
        "wrong": "exhausted",
    }
    assert rows["slip"]["attempts"] == [
        {
            "attempt": 1,
            "temperature": 0.8,
            "completion": told,
            "answer": "A",
            "correct": True,
            "rejected": "gives-away",
            "completion_tokens": len(told),
            "finish_reason": "stop",
        },
        {
            "attempt": 2,
            "temperature": 0.8,
            "completion": "Ann is older. The answer is A",
            "answer": "A",
            "correct": True,
            "completion_tokens": 29,
            "finish_reason": "stop",
        },
    ]
    assert [usable(attempt) for attempt in rows["slip"]["attempts"]] == [False, True]
    assert not any(usable(attempt) for id in ("never", "wrong") for attempt in rows[id]["attempts"])
    template = read(asking.folder / "distill.txt", "distill").digest
    assert {row["template"] for row in done.rows} == {template}
    summary = done.summary
    assert (summary["method"], summary["template"]) == ("distill", template)
    assert (summary["solved"], summary["rejected"], summary["exhausted"]) == (1, 1, 1)
    assert (summary["right"], summary["rejected_gives_away"], summary["rejected_inconclusive"]) == (4, 3, 0)
    assert summary["solved_by_attempt"] == [0, 1]
    (message,) = server.seen()[0]["messages"]
    assert message["content"].startswith("The text of slip.|Question 0 of slip?|A. option A\n")
    assert message["content"].endswith("|It is A.")
    before = len(server.seen())
    assert asking.retry(server.base_url, attempts=2, **flags(asking, "distill")).rows == done.rows
    assert len(server.seen()) == before


def test_all_labelled_questions_are_asked_about_where_that_is_wanted(asking: Asking, scripted: Start) -> None:
    first_answers(asking, right="A", wrong="B", unlabelled="-")
    server = scripted(rules=[rule("Question", "Ann is older. The answer is A")])
    done = asking.retry(server.base_url, about="all", **flags(asking, "distill"))
    assert [(row["id"], row["first"], row["outcome"]) for row in done.rows] == [
        ("right", "A", "solved"),
        ("wrong", "B", "solved"),
    ]
    assert done.summary["questions"] == 2
    again = asking.retry(server.base_url, about="all", attempts=1)
    assert (again.summary["method"], again.summary["template"]) == ("self", "feedfeedfeed")
    assert [(row["id"], row["template"]) for row in again.rows] == [
        ("right", "feedfeedfeed"),
        ("wrong", "feedfeedfeed"),
    ]


# --- reflect


def test_a_reflection_is_accepted_when_its_reasoning_leads_to_the_answer_without_the_hint(
    asking: Asking, scripted: Start
) -> None:
    first_answers(asking, good="B", hollow="C", bare="D", blames="B")
    server = scripted(
        rules=[
            verified("Ann is older.", "So the answer is A"),
            verified("The weather is fine.", "The answer is B", "The answer is A"),
            rule("[good]", "It overlooked Ann.\n\n**Solution:**\nAnn is older. The answer is A"),
            rule("[hollow]", "Solution: The weather is fine. The answer is A"),
            rule("[bare]", "Bob was overlooked.\nSolution:\nThe answer is A"),
            rule("[blames]", "My previous answer was wrong. The answer is A", "Ann is older. The answer is A"),
        ]
    )
    done = asking.retry(server.base_url, attempts=2, top_p=0.9, **flags(asking, "reflect"))
    rows = {row["id"]: row for row in done.rows}
    assert {id: row["outcome"] for id, row in rows.items()} == {
        "good": "solved",
        "hollow": "solved",
        "bare": "rejected",
        "blames": "solved",
    }
    content, conclusion = "It overlooked Ann.\n\n**Solution:**\nAnn is older. The answer is A", "So the answer is A"
    assert rows["good"]["attempts"] == [
        {
            "attempt": 1,
            "temperature": 0.8,
            "completion": "Ann is older. The answer is A",
            "answer": "A",
            "correct": True,
            "completion_tokens": len(content) + len(conclusion),
            "finish_reason": "stop",
            "critique": "It overlooked Ann.",
            "conclusion": conclusion,
        }
    ]
    hollow, bare = rows["hollow"]["attempts"], rows["bare"]["attempts"]
    assert [(each.get("rejected"), each["conclusion"]) for each in hollow] == [
        ("inconclusive", "The answer is B"),
        (None, "The answer is A"),
    ]
    assert [(each["rejected"], "conclusion" in each) for each in bare] == [("inconclusive", False)] * 2
    assert [each.get("rejected") for each in rows["blames"]["attempts"]] == ["gives-away", None]
    assert asked_to_conclude(server) == 4
    # the second request follows the first at once, has no hint, and is greedy
    first, second = server.seen()[:2]
    assert [message["role"] for message in first["messages"]] == ["user", "assistant", "user"]
    assert [message["content"] for message in first["messages"]] == [
        "[good]",
        "First thoughts on good. The answer is B",
        "Wrong, it is A.",
    ]
    assert [message["content"] for message in second["messages"]] == ["[good]", "Ann is older.", CONCLUDE]
    assert (first["temperature"], second["temperature"], second["top_p"]) == (0.8, 0.0, 0.9)
    summary = done.summary
    assert (summary["rejected_gives_away"], summary["rejected_inconclusive"]) == (1, 3)
    assert summary["conclude_template"] == Template(CONCLUDE).digest
    assert summary["completion_tokens"] == sum(
        each["completion_tokens"] for row in done.rows for each in row["attempts"]
    )


def test_a_chain_that_was_broken_off_in_its_middle_only_sends_what_is_missing(asking: Asking, scripted: Start) -> None:
    first_answers(asking, p="B", q="B")
    reply = "Solution: Ann is older. The answer is A"
    expired = {"status": 401, "error": "the key has expired"}
    server = scripted(
        rules=[verified("Ann is older.", expired, "The answer is A"), rule("[p]", reply), rule("[q]", reply)]
    )
    assert asking.retry(server.base_url, **flags(asking, "reflect")).status == 1
    done = asking.retry(server.base_url, **flags(asking, "reflect"))
    assert [row["outcome"] for row in done.rows] == ["solved", "solved"]
    # p, its verification twice, q and its verification
    assert [asked_to_conclude(server), len(server.seen())] == [3, 5]
    assert done.summary["reused"] == 0
    server.stop()
    assert asking.retry(server.base_url, **flags(asking, "reflect")).rows == done.rows


def test_a_verification_that_fails_is_no_right_answer_and_is_asked_again_alone(asking: Asking, scripted: Start) -> None:
    first_answers(asking, p="B")
    server = scripted(
        rules=[
            verified("Ann is older.", *[{"status": 500}] * 5, "The answer is A"),
            rule("[p]", "Ann is older. The answer is A"),
        ]
    )
    given = {"attempts": 1, **flags(asking, "reflect")}
    failed = asking.retry(server.base_url, **given)
    assert failed.status == 1
    assert "HTTP 500" in failed.message
    done = asking.retry(server.base_url, **given)
    assert [row["outcome"] for row in done.rows] == ["solved"]
    assert [asked_to_conclude(server), len(server.seen())] == [6, 7]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "distill"}, "--prompt goes with distill and reflect"),
        ({"prompt": PROMPTS / "en" / "distill.txt"}, "--prompt goes with distill and reflect"),
        ({"method": "reflect", "prompt": PROMPTS / "en" / "reflect.txt"}, "--conclude goes with reflect"),
        ({"method": "distill", "prompt": PROMPTS / "en" / "answer.txt"}, "must say where the answer goes"),
        (
            {
                "method": "reflect",
                "prompt": PROMPTS / "en" / "reflect.txt",
                "conclude": PROMPTS / "en" / "conclude.txt",
                "about": "all",
            },
            "--about all goes with self and distill",
        ),
    ],
    ids=["no prompt", "prompt of self", "no conclude", "wrong template", "reflect on what is right"],
)
def test_flags_that_do_not_go_together_are_told(asking: Asking, given: dict[str, Any], message: str) -> None:
    first_answers(asking, p="B")
    done = asking.retry("http://127.0.0.1:9/v1", **given)
    assert done.status == 1
    assert message in done.message


# --- whatever happens

QUESTION = Question(0, "?", ("one", "two"), "A")
GREEDY = Sampling(max_tokens=100, temperature=0.0, top_p=1.0, seed=0)
TEXTS = ["The answer is B", "The answer is A", "As given, the answer is A", *["Because. The answer is A"] * 4, "Hm."]


class Courses:
    """Runs of step retry that may be killed at any moment, with a server made up and completions that are kept."""

    def __init__(self, chance: random.Random, cases: int, attempts: int, keep: int, hedging: float) -> None:
        self._chance, self._cases = chance, cases
        self.attempts, self.keep, self._hedging = attempts, keep, hedging
        self.method = Method("reflect", lambda *_: GREEDY, Template("No: {answer}"), Template(CONCLUDE))
        self.journal: dict[Request, Completion] = {}
        self.most_under_way = 0

    def get(self, request: Request) -> Completion | None:
        return self.journal.get(request)

    def cases(self) -> list[Case]:
        cases = [Case(Key(f"p{n % 3}", n), QUESTION, "No: A", "B", ("?", "B")) for n in range(self._cases)]
        take_known(cases, self.get, self.method, self.attempts)
        return cases

    def run(self, concurrency: int, *, steps: int, failures: float, budget: int | None = None) -> list[Case]:
        cases = self.cases()
        going = [case for case in cases if not case.over(self.attempts, self.keep)]
        work = UntilRight(
            going,
            self.method,
            attempts=self.attempts,
            keep=self.keep,
            hedging=self._hedging,
            max_tokens=GREEDY.max_tokens,
            budget=budget,
            spent=sum(case.tokens for case in cases),
            finished=len(cases) - len(going),
        )
        under_way: list[Trial] = []
        halves: list[Trial] = []
        for _ in range(steps):
            while len(under_way) < concurrency and (job := work.next()) is not None:
                assert job.request not in self.journal, "it was asked before"
                assert job.request not in [other.request for other in under_way]
                assert not job.case.over(self.attempts, self.keep)
                under_way.append(job)
            if not under_way:
                assert budget is not None or all(case.over(self.attempts, self.keep) for case in cases)
                assert work.finished == sum(case.over(self.attempts, self.keep) for case in cases)
                assert work.solved == sum(
                    bool(case.accepted()) for case in going if case.over(self.attempts, self.keep)
                )
                assert not halves or budget is not None
                return cases
            if self._chance.random() < failures / 3:
                for job in under_way:
                    work.dropped(job)
                under_way.clear()
                work.ask_failures_again()
                continue
            job = under_way.pop(self._chance.randrange(len(under_way)))
            if self._chance.random() < failures:
                completion = Completion("", "error", 0, 0, 1.0, error="HTTP 500")
            else:
                tokens = self._chance.randint(1, GREEDY.max_tokens)
                text = self._chance.choice(TEXTS)
                completion = self.journal[job.request] = Completion(text, "stop", 9, tokens, float(tokens))
            for loser in list(work.done(job, completion)):
                under_way.remove(loser)
                work.dropped(loser)
        return cases


@settings(max_examples=150)
@given(
    st.integers(0, 2**32).map(random.Random),
    st.integers(0, 8),
    st.integers(1, 4),
    st.integers(1, 2),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([0.0, 0.2]),
    st.lists(st.integers(0, 30), max_size=3),
)
def test_chains_go_on_over_kills_restarts_and_failures_and_nothing_is_asked_twice(
    chance: random.Random, cases: int, attempts: int, keep: int, hedging: float, failures: float, kills: list[int]
) -> None:
    courses = Courses(chance, cases, attempts, keep, hedging)
    for steps in kills:
        courses.run(4, steps=steps, failures=failures)
    made = courses.run(4, steps=100_000, failures=failures)
    known = courses.cases()
    for case, again in zip(made, known, strict=True):
        # what is told does not depend on the run that tells it
        assert {n: each for n, each in case.attempts.items() if each.failure is None} == again.attempts
        for number, attempt in case.attempts.items():
            first = courses.get(courses.method.request(case, number))
            if attempt.failure or first is None:
                continue
            second = courses.method.verification(case, number, first)
            assert (second is not None) is (first.text == "Because. The answer is A")
            concluded = courses.get(second) if second else None
            right = concluded is not None and concluded.text.endswith("answer is A")
            assert attempt.accepted is right
    if not failures:
        assert courses.run(4, steps=1, failures=0.0) is not None
        spent = sum(case.tokens for case in known)
        assert spent == sum(each.completion_tokens for each in courses.journal.values()), "all costs are known again"


@settings(max_examples=100)
@given(st.integers(0, 2**32).map(random.Random), st.integers(1, 8), st.sampled_from([0.0, 0.5]), st.integers(0, 3000))
def test_a_budget_holds_for_both_requests_of_a_chain(
    chance: random.Random, cases: int, hedging: float, budget: int
) -> None:
    courses = Courses(chance, cases, 4, 1, hedging)
    courses.run(3, steps=100_000, failures=0.0, budget=budget)
    spent = sum(each.completion_tokens for each in courses.journal.values())
    assert spent <= budget + 3 * GREEDY.max_tokens
    before = len(courses.journal)
    courses.run(3, steps=100_000, failures=0.0, budget=spent)
    assert len(courses.journal) == before


def test_the_templates_of_the_project_belong_to_their_methods() -> None:
    for language in ("en", "zh"):
        folder: Path = PROMPTS / language
        for suffix in ("", "-short"):
            Method.read("distill", lambda *_: GREEDY, folder / f"distill{suffix}.txt", None)
            method = Method.read("reflect", lambda *_: GREEDY, folder / f"reflect{suffix}.txt", folder / "conclude.txt")
            assert method.template is not None
            # the heading that the prompt asks for is the one that is read
            heading = {"en": "Solution:", "zh": "解答："}[language]
            assert heading in method.template.text
            reading = method.reading(QUESTION, Completion(f"No.\n{heading}\nSo. 选A", "stop", 0, 0, 0.0))
            assert (reading.critique, reading.text) == ("No.", "So. 选A")
