"""A server lives as long as its step. A stand-in for vLLM's is really started, killed and searched for."""

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from engines import SLOW_REPLY, Prepare, alive, finished, free, gone, pid, step, wait_for, words
from errata.__main__ import main
from errata.core.errors import UserError
from errata.core.secrets import KEY_VARIABLES
from errata.inference.server import ServerSpec, run_server
from helpers import read_jsonl
from servers import PATIENCE


def spec(folder: Path, ready_timeout: float = 30.0, **more: Any) -> ServerSpec:
    return ServerSpec("vllm", "m", folder / "checkpoint", ready_timeout=ready_timeout, **more)


def test_a_server_gets_its_flags_answers_with_its_own_key_and_leaves_nothing_behind(
    tmp_path: Path, engine: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VLLM_API_KEY", "of another")
    server = engine()
    options = {"max_model_len": 4096, "enforce_eager": True, "enable_lora": False, "quantization": None}
    options["hf_overrides"] = {"a": 1}
    before = signal.getsignal(signal.SIGTERM)
    with run_server(
        spec(tmp_path, options=options, trust_remote_code=True), tmp_path / "logs" / "server.log"
    ) as running:
        command = json.loads((server.folder / "command.json").read_text())
        assert "engine of" in (tmp_path / "logs" / "server.log").read_text()
        assert running.base_url == server.base_url
        request = urllib.request.Request(f"{running.base_url}/models", headers={"Authorization": "Bearer of another"})
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(request)
    gone(server)
    assert signal.getsignal(signal.SIGTERM) is before
    assert running.api_key not in " ".join(command), "others could read the key in the list of processes"
    assert command == [
        *("--model", str(tmp_path / "checkpoint"), "--served-model-name", "m", "--host", "127.0.0.1"),
        *("--port", str(server.port), "--enable-prompt-tokens-details", "--trust-remote-code"),
        *("--max-model-len", "4096", "--enforce-eager", "--hf-overrides", '{"a": 1}'),
    ]


def test_a_server_gets_the_environment_without_the_keys_of_others(
    tmp_path: Path, engine: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY", "AWS_SECRET_ACCESS_KEY", "OUR_LLM"}
    for name in (*secrets, "HF_HOME"):
        monkeypatch.setenv(name, f"my {name}")
    monkeypatch.setenv(KEY_VARIABLES, "OTHER:OUR_LLM")  # an api_key_env of the configuration
    server = engine()
    with run_server(spec(tmp_path), tmp_path / "log", {"ERRATA_EXTRA": "1"}) as running:
        given = Path(f"/proc/{pid(server)}/environ").read_text()
    variables = dict(pair.split("=", 1) for pair in given.rstrip("\0").split("\0"))
    assert not secrets & variables.keys()
    assert variables["VLLM_API_KEY"] == running.api_key
    assert (variables["HF_HOME"], variables["ERRATA_EXTRA"]) == ("my HF_HOME", "1")
    assert variables["PATH"] == os.environ["PATH"]


@pytest.mark.parametrize(
    ("bits", "options", "kernels"),
    [
        (4, {}, None),
        (8, {}, None),
        (3, {}, "humming"),
        (2, {"max_model_len": 64}, "humming"),
        (3, {"quantization": "other"}, "other"),
        (3, {"quantization": None}, None),
    ],
)
def test_gptq_checkpoints_without_kernels_in_vllm_are_served_with_those_of_humming(
    tmp_path: Path, engine: Prepare, bits: int, options: dict[str, Any], kernels: str | None
) -> None:
    server = engine()
    (tmp_path / "checkpoint").mkdir()
    settings = {"quant_method": "gptq", "bits": bits}
    (tmp_path / "checkpoint" / "config.json").write_text(json.dumps({"quantization_config": settings}))
    with run_server(spec(tmp_path, options=options), tmp_path / "log"):
        command = json.loads((server.folder / "command.json").read_text())
    chosen = command[command.index("--quantization") + 1] if "--quantization" in command else None
    assert chosen == kernels


def test_two_servers_at_once_have_different_ports_and_keys(tmp_path: Path, engine: Prepare) -> None:
    engine()
    with (
        run_server(spec(tmp_path), tmp_path / "1.log") as first,
        run_server(spec(tmp_path), tmp_path / "2.log") as second,
    ):
        assert first.base_url != second.base_url
        assert first.api_key != second.api_key


def test_an_error_in_the_block_stops_the_server(tmp_path: Path, engine: Prepare) -> None:
    server = engine()
    with pytest.raises(KeyError), run_server(spec(tmp_path), tmp_path / "log"):
        raise KeyError
    gone(server)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_step_stops_its_server_and_keeps_the_journal(
    tmp_path: Path, engine: Prepare, how: signal.Signals
) -> None:
    server = engine(rules=[{"match": "Question", "replies": [SLOW_REPLY]}])
    with step(tmp_path) as running:
        wait_for(lambda: finished(tmp_path) >= 5)
        running.send_signal(how)
        output, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == 128 + how
    assert "Traceback" not in output
    gone(server)
    assert not (tmp_path / "out.jsonl").exists()
    kept, asked = finished(tmp_path), len(server.seen())
    assert kept >= 5
    # requests in flight may be lost, finished completions never
    assert asked - kept <= 4
    with step(tmp_path) as again:
        again.communicate(timeout=PATIENCE)
    assert again.returncode == 0
    assert len(read_jsonl(tmp_path / "out.jsonl")) == 20
    assert len(server.seen()) == asked + 20 - kept
    gone(server)


def test_a_killed_step_takes_its_server_with_it(tmp_path: Path, engine: Prepare) -> None:
    server = engine(rules=[{"match": "Question", "replies": [SLOW_REPLY]}])
    with step(tmp_path) as running:
        wait_for(lambda: finished(tmp_path) >= 3)
        running.kill()
        running.communicate(timeout=PATIENCE)
    wait_for(lambda: not alive(pid(server)))
    wait_for(lambda: free(server.port))


def test_a_server_that_dies_ends_the_step_at_once_with_the_end_of_its_log(tmp_path: Path, engine: Prepare) -> None:
    server = engine(
        rules=[{"match": "of p10?", "replies": [{"die": 3}]}, {"match": "Question", "replies": [SLOW_REPLY]}]
    )
    with step(tmp_path, "--restarts", "0") as running:
        wait_for(lambda: any("of p10?" in request["prompt"] for request in server.seen()))
        start = time.monotonic()
        output, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == 1
    assert time.monotonic() - start < PATIENCE, "a dead server was asked again and again"
    assert "the server of m ended (exit status 3)" in output
    assert "  | engine of" in output, "the end of its log"
    assert "  | fatal: the engine ran out of memory" in output
    assert "Traceback" not in output
    gone(server)
    assert not (tmp_path / "out.jsonl").exists()
    assert finished(tmp_path) >= 5


def test_a_server_that_does_not_start_is_reported_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "broken" / "vllm" / "entrypoints" / "openai"
    package.mkdir(parents=True)
    for level in (package, package.parent, package.parent.parent):
        (level / "__init__.py").touch()
    (package / "api_server.py").write_text("raise SystemExit('ValueError: no weights found')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "broken"))
    with (
        pytest.raises(UserError, match=r"ended \(exit status 1\)(.|\n)*\| ValueError: no weights found"),
        run_server(spec(tmp_path), tmp_path / "log"),
    ):
        pass


def test_a_server_that_is_never_ready_is_stopped_after_the_timeout(
    tmp_path: Path, engine: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = engine(rules=[{"match": "Hello", "replies": [{"status": 503, "error": "still loading"}]}])
    # a clock on which the timeout is over as soon as the server was asked for a completion
    clock = SimpleNamespace(monotonic=lambda: 100.0 * server.started())
    monkeypatch.setattr("errata.inference.server.time", clock)
    with (
        pytest.raises(UserError, match=r"no completion within 30 s .*still loading.*Raise ready_timeout"),
        run_server(spec(tmp_path), tmp_path / "log"),
    ):
        pass
    gone(server)


def test_a_port_in_use_is_reported_before_anything_is_started(tmp_path: Path, engine: Prepare) -> None:
    server = engine()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(UserError, match=rf"port {port} is in use .*leave `port` out"),
            run_server(spec(tmp_path, port=port), tmp_path / "log"),
        ):
            pass
    assert not (server.folder / "pid").exists()
    # once it is free again, it is used
    with run_server(spec(tmp_path, port=port), tmp_path / "log") as running:
        assert running.base_url == f"http://127.0.0.1:{port}/v1"


def test_a_model_folder_without_weights_is_reported_before_anything_is_started(tmp_path: Path, engine: Prepare) -> None:
    server = engine()
    with step(tmp_path, "--weights", str(tmp_path)) as running:
        output, _ = running.communicate(timeout=PATIENCE)
    assert running.returncode == 1
    assert f"{tmp_path}: no weights in this model folder" in output
    assert not (server.folder / "pid").exists()


def test_other_weights_or_another_precision_ask_again(tmp_path: Path, engine: Prepare) -> None:
    server = engine()

    def run(*more: str) -> int:
        before = len(server.seen())
        assert main(words(tmp_path, *more)) == 0
        return len(server.seen()) - before

    assert run() == 20
    assert run("--server-options", '{"max_num_seqs": 8}', "--concurrency", "8") == 0
    assert run("--server-options", '{"kv_cache_dtype": "fp8"}') == 20
    assert run() == 0
    other = tmp_path / "other"
    other.mkdir()
    (other / "model.safetensors").write_bytes(b"WEIGHTS")
    assert run("--weights", str(other)) == 20
