"""Where the files of the workflow itself are: found from the package, so that the working directory does not matter."""

from pathlib import Path

# What PYTHONPATH needs so that `import errata` works.
PACKAGE = Path(__file__).resolve().parents[2]
REPOSITORY = PACKAGE.parent
SCHEMAS = PACKAGE / "schemas"
REPORT_TEMPLATES = PACKAGE / "report"
ENVS = REPOSITORY / "envs"
