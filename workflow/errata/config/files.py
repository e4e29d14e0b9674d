"""Checks the files of a configuration: those that it is read from, and those that it names."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml

from errata.config.configuration import Configuration
from errata.config.faults import Fault

_MERGE = "tag:yaml.org,2002:merge"


def repeated_keys(files: Iterable[Path]) -> list[str]:
    """A fault for every key that a mapping of a YAML or JSON file contains twice: YAML readers keep the last one only.

    Files that cannot be read again are skipped: Snakemake has read them already, some from a pipe.
    """
    faults = []
    for file in files:
        try:
            # JSON may be indented with tabs, which YAML refuses; no text in it contains one
            text = Path(file).read_text(encoding="utf-8").replace("\t", " ")
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        faults += [f"{file}:{line}: {fault}" for line, fault in sorted(_repeated(root, "", set()))]
    return faults


def _repeated(node: yaml.Node | None, path: str, seen: set[int]) -> Iterator[tuple[int, str]]:
    """The line and the fault of every repeated key below a node."""
    # an alias is the node that its anchor names
    if node is None or id(node) in seen:
        return
    seen.add(id(node))
    if isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated(item, f"{path}{index}.", seen)
    elif isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            # as the configuration names it: `3` and `"3"` are the same
            name, line = str(key.value), key.start_mark.line + 1
            if key.tag != _MERGE and name in lines:
                yield (
                    line,
                    f"{path}{name}: line {lines[name]} contains this key too, and would be ignored; join the two",
                )
            lines.setdefault(name, line)
            yield from _repeated(value, f"{path}{name}.", seen)


def missing_files(configuration: Configuration) -> Iterator[Fault]:
    """The files that a configuration names and that do not exist; relative paths are from the working directory."""
    dataset = configuration.dataset
    wanted = {
        "dataset.train": dataset.train,
        "dataset.test": dataset.test,
        "dataset.corrections": dataset.corrections,
        **{f"prompts.{purpose}": path for purpose, path in configuration.prompts},
    }
    for key, path in wanted.items():
        if path is not None and not Path(path).is_file():
            there = "is a folder, not a file" if Path(path).is_dir() else "does not exist"
            start = "" if Path(path).is_absolute() else f", which starts from {Path.cwd()}"
            yield Fault(key, f"{path} {there}. Put the file there, or correct the path{start}.")
