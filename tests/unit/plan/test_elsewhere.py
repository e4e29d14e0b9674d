"""The workflow from other folders: with -s and -d, as a module, and under paths that a shell has to quote."""

import shutil
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
from dry_runs import LAPTOP, LOCAL, Dry, clone, snakemake

# Blanks, quotes, and braces, which Snakemake takes for wildcards.
NAME = 'it\'s a "project" {here}'
MODULE = """
configfile: "mine.yaml"
module errata:
    snakefile: {snakefile!r}
    config: config["errata"]
use rule * from errata as errata_*
rule mine:
    default_target: True
    input: rules.errata_all.input
    output: "mine.txt"
    shell: "cp {{input[0]}} {{output}}"
"""


def with_data(project: Path, name: str) -> Path:
    """A folder that contains only the data of the laptop configuration."""
    folder = project.parent / name
    shutil.copytree(project / "data", folder / "data")
    return folder


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Future[Dry]]]:
    """Dry runs from each folder, by name."""
    project = clone(tmp_path_factory.mktemp("elsewhere") / NAME)
    entry, standard = project / "Snakefile", project / "workflow" / "Snakefile"
    outside, directory, module = (with_data(project, name) for name in ("outside", "directory", "module"))
    (module / "Snakefile").write_text(MODULE.format(snakefile=str(standard)))
    config = (project / "config" / "config.yaml").read_text()
    (module / "mine.yaml").write_text("errata:\n" + "".join(f"  {line}\n" for line in config.splitlines()))
    shared = ("-n", "-p", "--cores", "2")
    with ThreadPoolExecutor(2) as pool:
        yield {
            "project": pool.submit(snakemake, project, "-n", "-p", *LOCAL),
            "-s": pool.submit(snakemake, outside, *shared, "-s", str(entry)),
            "-s workflow/Snakefile": pool.submit(snakemake, with_data(project, "other"), *shared, "-s", str(standard)),
            "-d": pool.submit(snakemake, project, *shared, "-d", str(directory)),
            "module": pool.submit(snakemake, module, *shared),
            "no data": pool.submit(snakemake, project.parent, *shared, "-s", str(entry)),
        }


def test_the_path_of_the_project_may_need_quotes(planned: dict[str, Future[Dry]]) -> None:
    dry = planned["project"].result()
    assert dry.jobs == LAPTOP, dry.text
    # the same relative paths as under any other name
    assert "--prompt config/prompts/en/answer-short.txt" in dry.text
    assert "errata environment --lock envs/serve-cpu.txt" in dry.text


@pytest.mark.parametrize("name", ["-s", "-s workflow/Snakefile", "-d"])
def test_from_another_folder_the_workflows_own_files_are_found(planned: dict[str, Future[Dry]], name: str) -> None:
    dry = planned[name].result()
    assert dry.jobs == LAPTOP, dry.text
    assert "--prompt .snakemake/errata/workflow/config/prompts/en/answer-short.txt" in dry.text
    assert "errata environment --lock .snakemake/errata/workflow/envs/serve-cpu.txt" in dry.text
    # data and results are those of the working directory
    assert "errata fix --input data/puzzles/train.jsonl " in dry.text
    assert "--output results/data/train.jsonl" in dry.text


def test_another_workflow_uses_this_one_as_a_module(planned: dict[str, Future[Dry]]) -> None:
    dry = planned["module"].result()
    expected = {f"errata_{rule}": count for rule, count in LAPTOP.items() if rule != "all"}
    assert dry.jobs == {**expected, "mine": 1}, dry.text
    # local rules stay local under another name
    assert "localrules directive" not in dry.text


def test_without_data_in_the_working_directory_the_missing_file_is_named(planned: dict[str, Future[Dry]]) -> None:
    dry = planned["no data"].result()
    assert dry.status != 0
    assert "data/puzzles/train.jsonl" in dry.text
    assert "Traceback" not in dry.text


def test_a_job_runs_under_a_path_that_needs_quotes(tmp_path: Path) -> None:
    project = clone(tmp_path / NAME)
    done = snakemake(project, *LOCAL, "results/data/train.jsonl")
    assert done.status == 0, done.text
    outside = with_data(project, "outside")
    done = snakemake(outside, "--cores", "1", "-s", str(project / "Snakefile"), "results/data/test.jsonl")
    assert done.status == 0, done.text
    assert (outside / "results" / "data" / "test.jsonl").exists()
