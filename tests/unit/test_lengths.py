"""No file of code grows past what can be read at one sitting."""

from helpers import REPOSITORY

LINES = 400
FILES = ("Snakefile", "workflow/**/*.py", "workflow/**/*.smk", "tests/**/*.py", "benchmarks/**/*.py")


def test_no_file_is_longer_than_400_lines() -> None:
    lengths = {
        str(path.relative_to(REPOSITORY)): len(path.read_text(encoding="utf-8").splitlines())
        for pattern in FILES
        for path in REPOSITORY.glob(pattern)
    }
    assert len(lengths) > 100
    assert {name: length for name, length in lengths.items() if length > LINES} == {}
