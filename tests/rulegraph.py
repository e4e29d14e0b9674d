"""The README's picture of the workflow, made from Snakemake's own rule graph: `python tests/rulegraph.py` renews it."""

import re
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
README = REPOSITORY / "README.md"
BLOCK = re.compile(r"(?<=```mermaid\n).*?(?=```)", re.DOTALL)
# Every rule that runs a model needs an environment, and every result is wanted by `all`: lines that hide the picture.
LEFT_OUT = {"environment", "all"}


def rulegraph() -> str:
    """The rules of the laptop configuration and what goes from one to another, as Mermaid."""
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/local", "--rulegraph", "mermaid-js"]
    graph = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout
    names = dict(re.findall(r"^\s*(id\d+)\[(\w+)\]", graph, re.MULTILINE))
    edges = {
        (names[source], names[target])
        for source, target in re.findall(r"^\s*(id\d+) --> (id\d+)", graph, re.MULTILINE)
        if not LEFT_OUT & {names[source], names[target]}
    }
    return "\n".join(["flowchart TB", *(f"    {source} --> {target}" for source, target in sorted(edges)), ""])


if __name__ == "__main__":
    README.write_text(BLOCK.sub(rulegraph(), README.read_text(encoding="utf-8"), count=1), encoding="utf-8")
