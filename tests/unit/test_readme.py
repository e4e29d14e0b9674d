"""The README tells the truth: its picture is the rule graph, and the rules of its table exist."""

import re

from rulegraph import BLOCK, README, REPOSITORY, rulegraph


def test_the_picture_is_the_rule_graph() -> None:
    block = BLOCK.search(README.read_text(encoding="utf-8"))
    assert block is not None
    assert block[0] == rulegraph(), "renew it with: python tests/rulegraph.py"


def test_every_rule_stands_in_the_table_and_no_other() -> None:
    text = "".join(path.read_text() for path in (REPOSITORY / "workflow/rules").glob("*.smk"))
    rules = set(re.findall(r"^(?:use rule \w+ as|rule|checkpoint) (\w+)", text, re.MULTILINE))
    table = README.read_text(encoding="utf-8").split("## Rules and artifacts")[1].split("\n## ")[0]
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|", table, re.MULTILINE)
    told = {name for row in rows for name in re.findall(r"\w+", row)}
    assert told == rules


def test_what_the_readme_points_to_exists() -> None:
    links = re.findall(r"\]\((?!#|http)([^)#]+)", README.read_text(encoding="utf-8"))
    assert links
    missing = [link for link in links if not (REPOSITORY / link).exists()]
    assert missing == []


def test_targets_do_not_stand_where_snakemake_takes_them_for_configurations() -> None:
    """`--configfile` takes all words up to the next option."""
    told = [README, *(REPOSITORY / folder / "README.md" for folder in ("config", "envs", "benchmarks"))]
    told += [*(REPOSITORY / "config").glob("*.yaml"), *(REPOSITORY / "profiles").glob("*/config.yaml")]
    shown = [
        words
        for path in told
        for words in re.findall(r"--configfile((?: (?!-)[^\s`)]+)+)", path.read_text(encoding="utf-8"))
    ]
    assert len(shown) > 5
    for words in shown:
        assert all(word.endswith(".yaml") or word == "FILE" for word in words.split()), words
