import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from engines import alive, wait_for
from errata.core.processes import descendants, running, tail
from helpers import REPOSITORY
from servers import PATIENCE

# Starts a child in its own session, like torchrun, and prints the id of the child.
PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(1000)"], start_new_session=True)
print(child.pid, flush=True)
time.sleep(1000)
"""


def child_of(log: Path) -> int:
    """The process id of PARENT's child, once the child runs."""
    wait_for(lambda: log.exists() and log.read_text().endswith("\n"))
    return int(log.read_text())


def run_parent(log: Path, how: Callable[[], object]) -> tuple[subprocess.Popen[bytes], int]:
    """Start PARENT, leave the block by `how`, and return the process and the id of its child."""
    with suppress(BaseException), running([sys.executable, "-c", PARENT], log) as process:
        child = child_of(log)
        assert child in descendants(process.pid)
        how()
        raise AssertionError("the block went on")
    return process, child


def test_children_in_other_sessions_end_too(tmp_path: Path) -> None:
    process, child = run_parent(tmp_path / "log", lambda: 1 / 0)
    assert process.poll() is not None
    wait_for(lambda: not alive(child))


def test_sigterm_ends_the_block(tmp_path: Path) -> None:
    before = signal.getsignal(signal.SIGTERM)
    codes: list[object] = []

    def terminate() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(PATIENCE)
        except SystemExit as ended:
            codes.append(ended.code)
            raise

    process, _ = run_parent(tmp_path / "log", terminate)
    assert codes == [128 + signal.SIGTERM]
    assert process.poll() is not None
    assert signal.getsignal(signal.SIGTERM) is before


def test_tail_leaves_progress_bars_out(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("start\n 10%|# | 1/10 [00:01<00:09, 1.0it/s]\r 20%|## | 2/10 [00:02<00:08, 1.00s/it]\rbad\n\nend\n")
    assert tail(log) == "start\nbad\nend"
    assert tail(log, 1) == "end"
    assert tail(tmp_path / "none") == ""


def test_diverted_output_goes_to_the_file_and_comes_back(tmp_path: Path) -> None:
    script = f"""
import os
from pathlib import Path
from errata.core.processes import diverted
with diverted(Path({str(tmp_path / "log")!r})) as terminal:
    print("hidden", flush=True)
    os.system("echo of a child")
    print("seen", file=terminal, flush=True)
print("after")
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY / "workflow")}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=environment)
    assert (done.stdout, done.stderr) == ("after\n", "seen\n")
    assert (tmp_path / "log").read_text() == "hidden\nof a child\n"
