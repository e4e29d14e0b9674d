"""The folders of the workflow's own files, independent of the working directory."""

from pathlib import Path

# The folder that PYTHONPATH needs for `import errata`.
PACKAGE = Path(__file__).resolve().parents[2]
REPOSITORY = PACKAGE.parent
SCHEMAS = PACKAGE / "schemas"
REPORT_TEMPLATES = PACKAGE / "report"
ENVS = REPOSITORY / "envs"
