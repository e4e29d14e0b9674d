"""Hide the secrets of the environment from code of models, servers and trainers.

Such code may come with a downloaded model, and may write its environment into logs. It needs no secrets, since it
downloads nothing and calls no service. This guards against mistakes, not against attackers: code of the same user can
still read the environment of other processes.
"""

import os
import re
from collections.abc import Mapping

# This variable lists the names, never the values, of all `api_key_env` in the configuration, separated by ":".
# workflow/prefix.sh sets it for all jobs.
KEY_VARIABLES = "ERRATA_KEY_VARIABLES"

# All variables of cloud tools: they contain keys, or name files and services that contain keys.
_FAMILIES = ("AWS_", "AZURE_", "CLOUDSDK_", "GCP_", "GOOGLE_")
# Any other secret is recognized by the end of its name: HF_TOKEN, HUGGING_FACE_HUB_TOKEN, OPENAI_API_KEY, ...
_ENDINGS = re.compile(
    r"(.*_)?(API_?KEYS?|ACCESS_KEY(_ID)?|SECRET_KEY|PRIVATE_KEY|TOKEN|SECRETS?|PASSWORD|PASSWD|CREDENTIALS?"
    r"|CONNECTION_STRING)"
)


def is_secret(name: str, environ: Mapping[str, str]) -> bool:
    """Whether an environment variable holds a secret.

    Args:
        name: its name.
        environ: the environment; its variable `ERRATA_KEY_VARIABLES` names more secrets.
    """
    upper = name.upper()
    return (
        upper.startswith(_FAMILIES)
        or _ENDINGS.fullmatch(upper) is not None
        or name in environ.get(KEY_VARIABLES, "").split(":")
    )


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that hold no secret, as an environment for a child process."""
    return {name: value for name, value in environ.items() if not is_secret(name, environ)}


def drop_secrets() -> None:
    """Remove the secrets from the environment of this process, before it runs code of a model."""
    for name in os.environ.keys() - without_secrets(os.environ).keys():
        del os.environ[name]
