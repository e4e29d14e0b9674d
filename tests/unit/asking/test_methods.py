"""Step retry by the methods that give the answer: their requests, what is accepted, and what is asked again."""

import time
from pathlib import Path
from typing import Any

import pytest

from asking import StepRunner, answer_row
from errata.asking.methods import Method
from errata.asking.prompts import Template, read
from errata.data.records import Problem, Question
from errata.data.rows import AnswerRow, AttemptRow
from errata.inference.requests import Completion, Sampling
from helpers import PROMPTS, indexed, problem, write_jsonl
from servers import ScriptedServer, Start

CONCLUDE = "Conclude: The answer is"
QUESTION = Question(0, "?", ("one", "two"), "A")
GREEDY = Sampling(max_tokens=100, temperature=0.0, top_p=1.0, seed=0)


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("errata.inference.client._PAUSE", 0.01)


def first_answers(steps: StepRunner, **letters: str | None) -> None:
    """Write problems of one question each, whose right answer is A, and their first answers; "-" has no label."""
    labels = {id: None if letter == "-" else "A" for id, letter in letters.items()}
    write_jsonl(steps.data, indexed(*(problem(id, label) for id, label in labels.items())))
    rows = [
        answer_row(
            id,
            letter,
            labels[id],
            template="feedfeedfeed",
            completion=f"First thoughts on {id}. The answer is {letter}",
        )
        for id, letter in letters.items()
    ]
    write_jsonl(steps.answers, rows)


def flags(steps: StepRunner, method: str) -> dict[str, Any]:
    """The flags of a method, with short templates of its own."""
    prompts = {
        "distill": "{problem}|{question}|{options}|It is {answer}.",
        "reflect": "Wrong, it is {answer}.",
        "conclude": CONCLUDE,
    }
    for name, text in prompts.items():
        (steps.folder / f"{name}.txt").write_text(text)
    given: dict[str, Any] = {
        "method": method,
        "prompt": steps.folder / f"{method}.txt",
        "hedging": 0,
        "concurrency": 1,
    }
    return given | ({"conclude": steps.folder / "conclude.txt"} if method == "reflect" else {})


def reflect() -> Method:
    return Method("reflect", lambda *_: GREEDY, Template("No: {answer}"), Template(CONCLUDE))


def accepted(row: dict[str, Any]) -> list[bool]:
    """Whether each attempt in a line of retries is accepted."""
    return [AttemptRow.from_record(attempt).accepted for attempt in row["attempts"]]


def rule(match: str, *replies: Any) -> dict[str, Any]:
    return {"match": match, "replies": [{"content": each} if isinstance(each, str) else each for each in replies]}


def verified(reasoning: str, *replies: Any) -> dict[str, Any]:
    """A rule for the request that verifies a reasoning."""
    return rule(f"{reasoning}\n{CONCLUDE}", *replies)


def verifications(server: ScriptedServer) -> int:
    return sum(request["prompt"].endswith(CONCLUDE) for request in server.seen())


# --- distill


def test_a_teacher_is_given_the_answer_and_asked_again_when_it_gives_that_away(
    steps: StepRunner, scripted: Start
) -> None:
    first_answers(steps, slip="B", never="C", wrong="D", right="A")
    giveaway = "As given, the correct answer is A."
    server = scripted(
        rules=[
            rule("of slip?", giveaway, "Ann is older. The answer is A"),
            rule("of never?", giveaway),
            rule("of wrong?", "The answer is B"),
        ]
    )
    done = steps.retry(server.base_url, attempts=2, **flags(steps, "distill"))
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
            "completion": giveaway,
            "answer": "A",
            "correct": True,
            "rejected": "gives-away",
            "completion_tokens": len(giveaway),
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
    assert accepted(rows["slip"]) == [False, True]
    assert not any([*accepted(rows["never"]), *accepted(rows["wrong"])])
    template = read(steps.folder / "distill.txt", "distill").digest
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
    assert steps.retry(server.base_url, attempts=2, **flags(steps, "distill")).rows == done.rows
    assert len(server.seen()) == before


def test_about_all_asks_every_labelled_question(steps: StepRunner, scripted: Start) -> None:
    first_answers(steps, right="A", wrong="B", unlabelled="-")
    server = scripted(rules=[rule("Question", "Ann is older. The answer is A")])
    done = steps.retry(server.base_url, about="all", **flags(steps, "distill"))
    assert [(row["id"], row["first"], row["outcome"]) for row in done.rows] == [
        ("right", "A", "solved"),
        ("wrong", "B", "solved"),
    ]
    assert done.summary["questions"] == 2
    again = steps.retry(server.base_url, about="all", attempts=1)
    assert (again.summary["method"], again.summary["template"]) == ("self", "feedfeedfeed")
    assert [(row["id"], row["template"]) for row in again.rows] == [
        ("right", "feedfeedfeed"),
        ("wrong", "feedfeedfeed"),
    ]


# --- reflect


def test_a_reflection_is_accepted_if_its_reasoning_leads_to_the_answer_without_the_hint(
    steps: StepRunner, scripted: Start
) -> None:
    first_answers(steps, good="B", hollow="C", bare="D", blames="B")
    server = scripted(
        rules=[
            verified("Ann is older.", "So the answer is A"),
            verified("The weather is fine.", "The answer is B", "The answer is A"),
            rule("[good]", "It overlooked Ann.\n\n**Solution:**\nAnn is older. The answer is A"),
            rule("[hollow]", "Solution: The weather is fine. The answer is A"),
            rule("[bare]", "Bob was overlooked.\nSolution:\nThe answer is A"),
            rule(
                "[blames]",
                "Solution: My previous answer was wrong. The answer is A",
                "Solution: Ann is older. The answer is A",
            ),
        ]
    )
    done = steps.retry(server.base_url, attempts=2, top_p=0.9, **flags(steps, "reflect"))
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
    assert verifications(server) == 4
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


def test_a_reflection_without_a_heading_is_rejected_because_its_critique_would_be_trained_on(
    steps: StepRunner, scripted: Start
) -> None:
    first_answers(steps, slip="B", never="B", wrong="B")
    mixed = "The reasoning confuses Ann with Bob: it is Ann who is older. The answer is A"
    server = scripted(
        rules=[
            verified("Ann is older.", "The answer is A"),
            rule("[slip]", mixed, "Solution: Ann is older. The answer is A"),
            rule("[never]", mixed),
            rule("[wrong]", "It confuses Ann with Bob. The answer is B"),
        ]
    )
    rows = {row["id"]: row for row in steps.retry(server.base_url, attempts=2, **flags(steps, "reflect")).rows}
    assert {id: (row["outcome"], [each.get("rejected") for each in row["attempts"]]) for id, row in rows.items()} == {
        "slip": ("solved", ["no-solution", None]),
        "never": ("rejected", ["no-solution"] * 2),
        "wrong": ("exhausted", [None] * 2),
    }
    assert not any(accepted(rows["never"]))
    assert verifications(server) == 1


@pytest.mark.parametrize(
    "completion",
    [
        "Mistake.\nSolution:\nIt fits.",
        "Mistake.\n**Solution:** It fits.",
        "Mistake.\n\n### Solution\nIt fits.",
        "Mistake.\n## Step-by-step solution\n\nIt fits.",
        "Mistake.\n\n### 2. Solution\nIt fits.",
        "Mistake.\n\nNew reasoning:\nIt fits.",
        "Mistake.\nHere is the corrected reasoning:\nIt fits.",
        "Mistake.\nCorrected solution: It fits.",
        "Mistake. Solution: It fits.",
        "Mistake.\nSolution:\nIt does not.\nMistake.\nNew solution:\nIt fits.",
        "Mistake.\n解答：\nIt fits.",
        "Mistake.\n解答如下：\nIt fits.",
        "Mistake.\n新的解答：It fits.",
        "Mistake.\n**正确解答**：\nIt fits.",
        "Mistake.\n以下是新的推理过程：\nIt fits.",
        "Mistake。解答：It fits.",
    ],
)
def test_the_solution_is_below_its_heading(completion: str) -> None:
    reading = reflect().read_completion(QUESTION, Completion(f"{completion} The answer is A", "stop", 0, 0, 0.0))
    assert (reading.text, reading.rejected) == ("It fits. The answer is A", None)
    assert "Mistake" in reading.critique


@pytest.mark.parametrize(
    "completion",
    [
        "The reasoning: it confuses Ann with Bob.",
        "Original solution: it confuses Ann with Bob.",
        "The solution confuses Ann with Bob.",
        "There is no solution: it confuses Ann with Bob.",
        "原解答：错在这里。",
        "推理：错在这里。",
        "",
    ],
)
def test_other_lines_are_no_heading(completion: str) -> None:
    reading = reflect().read_completion(QUESTION, Completion(f"{completion}\nThe answer is A", "stop", 0, 0, 0.0))
    assert (reading.correct, reading.rejected) == (True, "no-solution")


@pytest.mark.parametrize("piece", ["*", "# ", "\n#", "new ", ". new ", "以下是", "新的"])
def test_finding_a_heading_takes_no_time(piece: str) -> None:
    text = piece * (40_000 // len(piece))
    start = time.process_time()
    reflect().read_completion(QUESTION, Completion(text, "stop", 0, 0, 0.0))
    assert time.process_time() - start < 2


@pytest.mark.parametrize(
    ("text", "reasoning", "sent"),
    [
        ("Ann is older.", "Ann is older, which makes A right. Bob is young.", "Bob is young."),
        ("Ann is older.", "Only option A fits.", None),
        ("A and B play. A is older.", "A is older than B. Option A fits.", "A is older than B."),
    ],
)
def test_a_verification_does_not_name_the_answer(text: str, reasoning: str, sent: str | None) -> None:
    asked = Problem("p", text, (QUESTION,))
    retry = reflect().begin(asked, QUESTION, AnswerRow.from_record(answer_row("p", "B")))
    first = Completion(f"Solution: {reasoning} The answer is A", "stop", 0, 0, 0.0)
    reading = reflect().read_completion(QUESTION, first)
    request = reflect().verification(retry, 1, reading)
    assert (request and request.history) == (sent and ("[p]", sent))
    # the text to train on is not shortened
    assert reading.text == f"{reasoning} The answer is A"
    assert reflect().attempt(QUESTION, reading).rejected == "inconclusive"


def test_an_attempt_interrupted_between_its_requests_sends_only_the_missing_one(
    steps: StepRunner, scripted: Start
) -> None:
    first_answers(steps, p="B", q="B")
    reply = "Solution: Ann is older. The answer is A"
    expired = {"status": 401, "error": "the key has expired"}
    server = scripted(
        rules=[verified("Ann is older.", expired, "The answer is A"), rule("[p]", reply), rule("[q]", reply)]
    )
    assert steps.retry(server.base_url, **flags(steps, "reflect")).status == 1
    done = steps.retry(server.base_url, **flags(steps, "reflect"))
    assert [row["outcome"] for row in done.rows] == ["solved", "solved"]
    # p, its verification twice, q and its verification
    assert [verifications(server), len(server.seen())] == [3, 5]
    assert done.summary["reused"] == 0
    server.stop()
    assert steps.retry(server.base_url, **flags(steps, "reflect")).rows == done.rows


def test_a_failed_verification_is_no_right_answer_and_only_it_is_sent_again(steps: StepRunner, scripted: Start) -> None:
    first_answers(steps, p="B")
    server = scripted(
        rules=[
            verified("Ann is older.", *[{"status": 500}] * 5, "The answer is A"),
            rule("[p]", "Solution: Ann is older. The answer is A"),
        ]
    )
    given = {"attempts": 1, **flags(steps, "reflect")}
    failed = steps.retry(server.base_url, **given)
    assert failed.status == 1
    assert "HTTP 500" in failed.message
    done = steps.retry(server.base_url, **given)
    assert [row["outcome"] for row in done.rows] == ["solved"]
    assert [verifications(server), len(server.seen())] == [6, 7]


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
def test_flags_that_do_not_go_together_are_reported(steps: StepRunner, given: dict[str, Any], message: str) -> None:
    first_answers(steps, p="B")
    done = steps.retry("http://127.0.0.1:9/v1", **given)
    assert done.status == 1
    assert message in done.message


def test_the_templates_of_the_project_fit_their_methods() -> None:
    for language in ("en", "zh"):
        folder: Path = PROMPTS / language
        for suffix in ("", "-short"):
            Method.read("distill", lambda *_: GREEDY, folder / f"distill{suffix}.txt", None)
            method = Method.read("reflect", lambda *_: GREEDY, folder / f"reflect{suffix}.txt", folder / "conclude.txt")
            assert method.template is not None
            # the heading that the prompt asks for is recognized
            heading = {"en": "Solution:", "zh": "解答："}[language]
            assert heading in method.template.text
            reading = method.read_completion(QUESTION, Completion(f"No.\n{heading}\nSo. 选A", "stop", 0, 0, 0.0))
            assert (reading.critique, reading.text) == ("No.", "So. 选A")
