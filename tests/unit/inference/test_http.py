"""HTTP connections: the readiness check and the questions take the same route, with the same trust and headers."""

import json
from pathlib import Path

import pytest

from asking import Done, StepRunner
from engines import SLOW_REPLY, Prepare, words
from errata.__main__ import main
from errata.core.errors import UserError
from errata.inference.http import Reply, proxy_for
from helpers import REPOSITORY, indexed, problem, read_jsonl, write_jsonl
from servers import Start

CERTIFICATE = REPOSITORY / "tests" / "self-signed.pem"
VARIABLES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")


@pytest.fixture(autouse=True)
def _no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, *map(str.lower, VARIABLES), "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


def answer_three(steps: StepRunner, base_url: str, **flags: object) -> Done:
    write_jsonl(steps.data, indexed(*(problem(f"p{number}", "A") for number in range(3))))
    return steps.answer(base_url, **flags)


# --- the route


@pytest.mark.parametrize(
    ("base_url", "environment", "proxy"),
    [
        ("http://far.example/v1", {"HTTP_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ("http://far.example/v1", {"http_proxy": "proxy:3128"}, "http://proxy:3128"),
        ("https://far.example/v1", {"HTTP_PROXY": "http://proxy:3128"}, None),
        ("https://far.example/v1", {"HTTPS_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ("https://far.example/v1", {"ALL_PROXY": "http://proxy:3128"}, "http://proxy:3128"),
        ("http://far.example/v1", {"HTTP_PROXY": "http://a:1", "ALL_PROXY": "http://b:2"}, "http://a:1"),
        ("http://far.example/v1", {"HTTP_PROXY": ""}, None),
        # this machine
        ("http://127.0.0.1:8000/v1", {"HTTP_PROXY": "http://proxy:3128"}, None),
        ("http://127.1.2.3:8000/v1", {"HTTP_PROXY": "http://proxy:3128"}, None),
        ("http://localhost:8000/v1", {"ALL_PROXY": "http://proxy:3128"}, None),
        ("http://me.localhost:8000/v1", {"ALL_PROXY": "http://proxy:3128"}, None),
        ("http://[::1]:8000/v1", {"HTTP_PROXY": "http://proxy:3128"}, None),
        ("http://0.0.0.0:8000/v1", {"HTTP_PROXY": "http://proxy:3128"}, None),
        # hosts that NO_PROXY names
        ("http://a.far.example/v1", {"HTTP_PROXY": "http://p", "NO_PROXY": "far.example"}, None),
        ("http://a.far.example/v1", {"HTTP_PROXY": "http://p", "NO_PROXY": "near, .far.example"}, None),
        ("http://notfar.example/v1", {"HTTP_PROXY": "http://p", "NO_PROXY": "far.example"}, "http://p"),
        ("http://far.example:8000/v1", {"HTTP_PROXY": "http://p", "NO_PROXY": "far.example:8000"}, None),
        ("http://far.example/v1", {"HTTP_PROXY": "http://p", "no_proxy": "*"}, None),
        ("http://10.1.2.3:8000/v1", {"HTTP_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, None),
        ("http://10.1.2.3:8000/v1", {"HTTP_PROXY": "http://p", "NO_PROXY": "host,10.1.2.3"}, None),
        ("http://10.1.2.3:8000/v1", {"HTTP_PROXY": "http://p", "NO_PROXY": "10.1.2.77/24, fd00::/8"}, None),
        ("http://11.1.2.3:8000/v1", {"HTTP_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, "http://p"),
        ("http://[fd12::1]:8000/v1", {"HTTP_PROXY": "http://p", "NO_PROXY": "fd00::/8"}, None),
        ("http://[fd12::1]:8000/v1", {"HTTP_PROXY": "http://p", "NO_PROXY": "10.0.0.0/8"}, "http://p"),
    ],
)
def test_the_proxy_is_that_of_the_environment_but_never_for_this_machine_or_for_no_proxy(
    monkeypatch: pytest.MonkeyPatch, base_url: str, environment: dict[str, str], proxy: str | None
) -> None:
    for name, text in environment.items():
        monkeypatch.setenv(name, text)
    assert proxy_for(base_url) == proxy


@pytest.mark.parametrize(
    ("base_url", "proxy", "message"),
    [
        ("http://far.example/v1", "socks5://proxy:1080", "HTTP_PROXY names a socks5 proxy.*far.example to NO_PROXY"),
        ("http://user:secret@far.example/v1", "", "the address of far.example contains a user name"),
        ("http://[far/v1", "", "is not an address"),
        ("http://far:port/v1", "", "is not an address"),
    ],
    ids=["socks", "user", "bracket", "port"],
)
def test_an_address_or_a_proxy_that_cannot_be_used_is_reported_without_a_traceback(
    steps: StepRunner, monkeypatch: pytest.MonkeyPatch, base_url: str, proxy: str, message: str
) -> None:
    monkeypatch.setenv("HTTP_PROXY", proxy)
    with pytest.raises(UserError, match=message):
        proxy_for(base_url)
    done = answer_three(steps, base_url)
    assert done.status == 1
    assert "Traceback" not in done.message
    assert "secret" not in done.message


def test_an_endpoint_elsewhere_is_asked_through_the_proxy(
    steps: StepRunner, scripted: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = scripted()
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.port}")
    assert answer_three(steps, "http://far-away.invalid/v1").summary["correct"] == 3
    assert len(proxy.seen()) == 3
    assert {row["host"] for row in proxy.headers()} == {"far-away.invalid"}


def test_an_endpoint_on_this_machine_is_not_asked_through_the_proxy(
    steps: StepRunner, scripted: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    # a proxy that refuses everybody: once this looked as if the endpoint refused the key
    proxy, server = scripted(key="of nobody"), scripted()
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert answer_three(steps, server.base_url).summary["correct"] == 3
    assert not proxy.headers()


def test_a_proxy_that_refuses_is_named(steps: StepRunner, scripted: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = scripted(key="of nobody")
    monkeypatch.setenv("HTTP_PROXY", f"http://user:secret@127.0.0.1:{proxy.port}")
    done = answer_three(steps, "http://far-away.invalid/v1")
    assert done.status == 1
    assert f"the key was refused, asked through the proxy http://127.0.0.1:{proxy.port}" in done.message
    assert "secret" not in done.message


def test_a_proxy_of_the_environment_does_not_disturb_a_server_of_our_own(
    tmp_path: Path, engine: Prepare, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine(rules=[{"match": "Question", "replies": [SLOW_REPLY]}])
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert main(words(tmp_path)) == 0
    assert [row["answer"] for row in read_jsonl(tmp_path / "out.jsonl")] == ["A"] * 20


# --- headers


@pytest.mark.parametrize(("key", "sent"), [("right", "right"), (" right\r\n", "right"), ("", "none"), (None, "none")])
def test_all_requests_have_the_same_key_and_user_agent(
    steps: StepRunner, scripted: Start, monkeypatch: pytest.MonkeyPatch, key: str | None, sent: str
) -> None:
    if key is not None:
        monkeypatch.setenv("MY_KEY", key)
    server = scripted(key=sent)
    assert answer_three(steps, server.base_url, api_key_env="MY_KEY").summary["correct"] == 3
    headers = server.headers()
    assert [row["path"] for row in headers] == ["/v1/models", *["/v1/chat/completions"] * 4]
    assert {row["authorization"] for row in headers} == {f"Bearer {sent}"}
    (agent,) = {row["user-agent"] for row in headers}
    assert agent.startswith("errata/")


@pytest.mark.parametrize("key", ["two words", "two\nlines", "clé"])
def test_a_key_that_cannot_be_sent_is_reported_with_its_variable(
    steps: StepRunner, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    monkeypatch.setenv("MY_KEY", key)
    done = answer_three(steps, "http://127.0.0.1:9/v1", api_key_env="MY_KEY")
    assert done.status == 1
    assert "the environment variable MY_KEY contains no key that can be sent" in done.message
    assert key not in done.message


# --- certificates


def test_an_untrusted_certificate_is_reported_with_the_remedy(steps: StepRunner, scripted: Start) -> None:
    server = scripted(certificate=str(CERTIFICATE))
    done = answer_three(steps, server.base_url)
    assert done.status == 1
    assert f"{server.base_url}: the server's certificate is not trusted (self-signed certificate)" in done.message
    assert "SSL_CERT_FILE" in done.message
    assert not server.headers()


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"])
def test_a_certificate_that_the_environment_names_is_trusted(
    steps: StepRunner, scripted: Start, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    server = scripted(certificate=str(CERTIFICATE))
    monkeypatch.setenv(name, str(CERTIFICATE))
    assert answer_three(steps, server.base_url).summary["correct"] == 3
    assert len(server.seen()) == 3


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_without_certificates_is_named(
    steps: StepRunner, monkeypatch: pytest.MonkeyPatch, content: str | None
) -> None:
    path = steps.folder / "bundle.pem"
    if content:
        path.write_text(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(path))
    done = answer_three(steps, "https://127.0.0.1:9/v1")
    assert done.status == 1
    assert f"REQUESTS_CA_BUNDLE: {path}: cannot read certificates" in done.message


# --- errors


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"error": {"message": "too long"}}, "too long"),
        ({"error": "too long"}, "too long"),
        ({"message": "too long"}, "too long"),
        ({"detail": "x"}, '{"detail": "x"}'),
        ([1], "[1]"),
    ],
)
def test_the_servers_own_message_is_shown(content: object, message: str) -> None:
    assert Reply(400, json.dumps(content).encode(), {}).error == f"HTTP 400: {message}"
    assert Reply(502, b"<html>" * 200, {}).error == "HTTP 502: " + ("<html>" * 200)[:500]
