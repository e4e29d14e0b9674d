"""The journal returns every finished completion, whatever happens to a run, and nothing else."""

import errno
import fcntl
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from errata.core.errors import UserError
from errata.data.records import Key
from errata.inference.journal import Journal
from errata.inference.requests import Completion, Request, Sampling
from servers import PATIENCE

SAMPLING = Sampling(max_tokens=64, temperature=0.0, top_p=1.0, seed=7)


def joined(text: str) -> str:
    """Join two halves of a character, as every JSON reader does."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


# lone surrogates, control characters, every kind of line end: a model may write any of them
ODD = ["\ud83d", "\udc00", "\n", "\r", "\u2028", "\x00", "\x1b[0m", "\\n", '"', "张", "\U0001f600"]
TEXTS = (st.text(max_size=30) | st.lists(st.sampled_from(ODD)).map("".join)).map(joined)


def request(
    id: str = "p",
    question: int = 0,
    attempt: int = 0,
    prompt: str = "?",
    sampling: Sampling = SAMPLING,
    history: tuple[str, ...] = (),
) -> Request:
    return Request(Key(id, question), attempt, prompt, sampling, history)


def completion(text: str = "The answer is A") -> Completion:
    return Completion(text, "stop", prompt_tokens=3, completion_tokens=5, seconds=0.25)


REQUESTS = st.builds(
    Request,
    st.builds(Key, st.text(max_size=3), st.integers(0, 2)),
    st.integers(0, 2),
    st.sampled_from(["?", "张三？", "a\nb"]),
    st.builds(Sampling, st.sampled_from([64, 65]), st.sampled_from([0.0, 0.8]), st.just(1.0), st.integers(0, 1)),
)
COMPLETIONS = st.builds(
    Completion,
    TEXTS,
    st.sampled_from(["stop", "length"]),
    st.integers(0, 9),
    st.integers(0, 9),
    st.floats(0, 9),
    st.just(""),
)


class JournalMachine(RuleBasedStateMachine):
    """Adds, normal ends and kills in any order, compared with a plain dictionary."""

    folder: Path

    @initialize()
    def start(self) -> None:
        self.path = self.folder / f"{len(list(self.folder.iterdir()))}.jsonl"
        self.journal = Journal(self.path, "m")
        self.expected: dict[Request, Completion] = {}

    @rule(request=REQUESTS, completion=COMPLETIONS)
    def add(self, request: Request, completion: Completion) -> None:
        if request not in self.expected:
            self.journal.add(request, completion)
            self.expected[request] = completion

    @rule()
    def end_and_open_again(self) -> None:
        self.journal.__exit__(None, None, None)
        self.journal = Journal(self.path, "m")

    @rule(torn=st.binary(min_size=1, max_size=20).filter(lambda piece: b"\n" not in piece))
    def a_crash_leaves_half_a_line(self, torn: bytes) -> None:
        self.journal.__exit__(None, None, None)
        with self.path.open("ab") as file:
            file.write(b'{"digest": "' + torn)
        self.journal = Journal(self.path, "m")

    @invariant()
    def everything_is_returned(self) -> None:
        if hasattr(self, "journal"):
            assert len(self.journal) == len(self.expected)
            for request, completion in self.expected.items():
                assert self.journal.get(request) == completion

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.__exit__(None, None, None)


def test_everything_is_returned_after_any_sequence_of_adds_ends_and_crashes(tmp_path: Path) -> None:
    JournalMachine.folder = tmp_path
    JournalMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=15, deadline=None)
    JournalMachine.TestCase().runTest()


def test_a_line_torn_at_any_byte_is_removed_and_nothing_else_is_lost(tmp_path: Path) -> None:
    whole = tmp_path / "whole.jsonl"
    with Journal(whole, "m") as journal:
        for number in range(3):
            journal.add(request(question=number), completion(f"第{number} \ud83d\n answer"))
    content = whole.read_bytes()
    last = content.rstrip(b"\n").rfind(b"\n") + 1
    torn = tmp_path / "torn.jsonl"
    for end in range(last, len(content)):
        torn.write_bytes(content[:end])
        with Journal(torn, "m") as journal:
            assert [journal.get(request(question=number)) is not None for number in range(3)] == [True, True, False]
            journal.add(request(question=2), completion("again"))
        with Journal(torn, "m") as journal:
            assert len(journal) == 3
            assert journal.get(request(question=2)) == completion("again")
        assert torn.read_bytes().startswith(content[:last])


def test_a_broken_line_in_the_middle_is_named_and_nothing_is_removed(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, "m") as journal:
        journal.add(request(question=0), completion())
        journal.add(request(question=1), completion())
    lines = path.read_bytes().splitlines(keepends=True)
    for broken in (b"{\n", b"\xff\xfe\n", b"[1]\n", b'{"digest": "x"}\n', b"\n"):
        path.write_bytes(lines[0] + broken + lines[1])
        with pytest.raises(UserError, match=r"journal\.jsonl:2: broken line .*Remove this line"):
            Journal(path, "m")
        assert path.read_bytes() == lines[0] + broken + lines[1]


def test_a_line_broken_after_its_digest_is_named_when_its_completion_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, "m") as journal:
        for number in range(4):
            # longer than one piece that is read
            journal.add(request(question=number), completion("x" * 5000))
    lines = path.read_bytes().splitlines(keepends=True)
    for broken in (
        lines[2].replace(b'"text": "', b'"text": ', 1),
        lines[2].replace(b'"at": ', b'"then": ', 1),
        lines[2].replace(b'"finish_reason"', b'"reason"', 1),
    ):
        path.write_bytes(b"".join([*lines[:2], broken, lines[3]]))
        with Journal(path, "m") as journal:
            assert request(question=2) in journal
            assert journal.get(request(question=3)) == completion("x" * 5000)
            with pytest.raises(UserError, match=r"journal\.jsonl:3: broken line .*Remove this line"):
                journal.get(request(question=2))


@pytest.mark.parametrize(
    "other",
    [
        request(id="q"),
        request(question=1),
        request(attempt=1),
        request(prompt="? "),
        request(sampling=Sampling(65, 0.0, 1.0, 7)),
        request(sampling=Sampling(64, 0.1, 1.0, 7)),
        request(sampling=Sampling(64, 0.0, 0.9, 7)),
        request(sampling=Sampling(64, 0.0, 1.0, 8)),
        request(history=("?", "!")),
    ],
    ids=["problem", "question", "attempt", "prompt", "max_tokens", "temperature", "top_p", "seed", "history"],
)
def test_a_completion_is_never_returned_for_another_request(tmp_path: Path, other: Request) -> None:
    with Journal(tmp_path / "journal.jsonl", "m") as journal:
        journal.add(request(), completion())
        assert journal.get(request()) == completion()
        assert journal.get(other) is None


def test_a_completion_is_never_returned_for_another_model_but_for_its_own_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path, "m") as journal:
        journal.add(request(), completion("of m"))
    with Journal(path, "n") as journal:
        assert journal.get(request()) is None
        journal.add(request(), completion("of n"))
    for model in "mn":
        with Journal(path, model) as journal:
            assert journal.get(request()) == completion(f"of {model}")


def test_the_file_is_plain_text_with_one_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "folder" / "journal.jsonl"
    with Journal(path, "m") as journal:
        journal.add(request("题"), completion("一\n二\u2028三\x00\ud83d"))
        # the operating system has it at once: another process sees it while this one still runs
        (line,) = path.read_text(encoding="utf-8").split("\n")[:-1]
    assert json.loads(line)["key"] == ["题", 0, 0]
    assert json.loads(line)["text"] == "一\n二\u2028三\x00\ud83d"


def no_flock(monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def flock(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", flock)


def in_a_process_of_its_own(program: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.PIPE,
        text=True,
    )


def test_a_journal_in_use_is_refused_to_a_second_process(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    program = (
        "import sys, pathlib\nfrom errata.inference.journal import Journal\n"
        "with Journal(pathlib.Path(sys.argv[1]), 'm'):\n    print('open', flush=True)\n    sys.stdin.read()\n"
    )
    with in_a_process_of_its_own(program, str(path)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "open\n"
        with pytest.raises(UserError, match="another run writes this journal"):
            Journal(path, "m")
        holder.kill()
        holder.wait()
        # the lock of a killed process is free again
        with Journal(path, "m") as journal:
            journal.add(request(), completion())


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_without_locks_there_is_a_warning_and_the_journal_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], code: int
) -> None:
    no_flock(monkeypatch, code)
    path = tmp_path / "journal.jsonl"
    for _ in range(2):
        with Journal(path, "m") as journal:
            journal.add(request(), completion())
        output = capsys.readouterr().out
        assert output == f"{path}: this file system has no locks: let no two runs write the same journal at once\n"
    with Journal(path, "m") as journal:
        assert journal.get(request()) == completion()


def test_a_lock_that_fails_otherwise_is_not_reported_as_another_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_flock(monkeypatch, errno.EIO)
    with pytest.raises(UserError, match=r"journal\.jsonl: cannot write \(Input/output error\)"):
        Journal(tmp_path / "journal.jsonl", "m")


# A limit on file sizes stands in for a full disk: the write fails after some bytes, as it does there.
FILL = """
import json, pathlib, resource, sys
from errata.core.errors import UserError
from errata.inference.journal import Journal
from errata.inference.requests import Completion, Request, Sampling
from errata.data.records import Key
path, limit = pathlib.Path(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
def request(number): return Request(Key("p", number), 0, "?", Sampling(64, 0.0, 1.0, 7))
done = 0
try:
    with Journal(path, "m") as journal:
        while True:
            journal.add(request(done), Completion("x" * 100, "stop", 1, 1, 0.5))
            done += 1
            if done == int(sys.argv[3]):
                break
except UserError as error:
    print(json.dumps([done, str(error)]))
else:
    print(json.dumps([done, ""]))
"""


@pytest.mark.parametrize("limit", [0, 1, 100, 1000, 1024, 1111, 4096, 10_000])
def test_a_full_disk_is_reported_and_earlier_completions_are_kept(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "journal.jsonl"
    with in_a_process_of_its_own(FILL, str(path), str(limit), "-1") as child:
        output, _ = child.communicate(timeout=PATIENCE)
    done, message = json.loads(output.splitlines()[-1])
    assert message.startswith(f"{path}: cannot write (")
    assert "finished work is kept" in message
    content = path.read_bytes()
    assert content == b"" or content.endswith(b"\n"), "half a line was left behind"
    with Journal(path, "m") as journal:
        assert len(journal) == done == content.count(b"\n")
        assert all(journal.get(request(question=number)) for number in range(done))


def test_a_journal_is_written_again_after_a_disk_was_full(tmp_path: Path) -> None:
    program = """
import pathlib, resource, sys
from errata.core.errors import UserError
from errata.inference.journal import Journal
from errata.inference.requests import Completion, Request, Sampling
from errata.data.records import Key
def request(number): return Request(Key("p", number), 0, "?", Sampling(64, 0.0, 1.0, 7))
with Journal(pathlib.Path(sys.argv[1]), "m") as journal:
    journal.add(request(0), Completion("x" * 100, "stop", 1, 1, 0.5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.path.stat().st_size + 50, resource.RLIM_INFINITY))
    try:
        journal.add(request(1), Completion("x" * 100, "stop", 1, 1, 0.5))
    except UserError:
        print("full")
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.add(request(2), Completion("x" * 100, "stop", 1, 1, 0.5))
"""
    path = tmp_path / "journal.jsonl"
    with in_a_process_of_its_own(program, str(path)) as child:
        output, _ = child.communicate(timeout=PATIENCE)
    assert output == "full\n"
    with Journal(path, "m") as journal:
        assert [journal.get(request(question=number)) is not None for number in range(3)] == [True, False, True]


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("a file in place of the folder")
    with pytest.raises(UserError, match=r"journal\.jsonl: cannot write"):
        Journal(tmp_path / "results" / "journal.jsonl", "m")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_without_the_right_to_write_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match=r"journal\.jsonl: cannot write \(Permission denied\)"):
        Journal(tmp_path / "journal.jsonl", "m")


# Opens a journal, reads all of it, and prints how much memory that took.
READ = """
import pathlib, sys, tracemalloc
from errata.inference.journal import Journal
from errata.inference.requests import Request, Sampling
from errata.data.records import Key
tracemalloc.start()
with Journal(pathlib.Path(sys.argv[1]), "m") as journal:
    for number in range(int(sys.argv[2])):
        assert len(journal.get(Request(Key("p", number), 0, "?", Sampling(64, 0.0, 1.0, 7))).text) == int(sys.argv[3])
    print(len(journal), tracemalloc.get_traced_memory()[1])
"""


def test_memory_of_a_journal_does_not_grow_with_the_length_of_completions(tmp_path: Path) -> None:
    count = 2000
    peaks = []
    for length in (100, 20_000):
        path = tmp_path / f"{length}.jsonl"
        with Journal(path, "m") as journal:
            journal.add(request(), completion("x" * length))
            line = path.read_text()
            head, _, rest = line.partition(request().digest("m").hex())
            with path.open("a") as file:
                for number in range(1, count):
                    file.write(head + request(question=number).digest("m").hex() + rest)
        with in_a_process_of_its_own(READ, str(path), str(count), str(length)) as child:
            output, _ = child.communicate(timeout=PATIENCE)
        opened, peak = map(int, output.split())
        assert opened == count
        peaks.append(peak)
    assert peaks[1] < peaks[0] + 2 * 2**20, "40 MB of text were read"
    assert peaks[1] < 300 * count + 3 * 2**20


def test_a_completion_that_the_context_cut_off_is_only_returned_for_that_context(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    by_context = Completion("I am still", "length", prompt_tokens=3, completion_tokens=5, seconds=0.25)
    by_limit = Completion("I am still", "length", prompt_tokens=3, completion_tokens=64, seconds=0.25)
    with Journal(path, "m", context=512) as journal:
        journal.add(request("context"), by_context)
        journal.add(request("limit"), by_limit)
    with Journal(path, "m", context=1024) as journal:
        assert request("context") not in journal
        assert journal.get(request("context")) is None
        assert journal.get(request("limit")) == by_limit
        journal.add(request("context"), completion())
    with Journal(path, "m", context=512) as journal:
        # a whole completion is better than one that was cut off
        assert journal.get(request("context")) == completion()
