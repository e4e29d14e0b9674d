"""The secrets of the environment, which code of models, servers and trainers must not see.

Such code may come with a downloaded model, and may write its environment into logs. It needs no secret: nothing is
downloaded, and nobody is asked over the network. This guards against mistakes, not against an attacker: code of the
same user can still read the environment of other processes.
"""

import os
import re
from collections.abc import Mapping

# Names, never values, of the variables that some `api_key_env` of the configuration names, separated by ":". The shell
# prelude of all jobs sets it.
KEY_VARIABLES = "ERRATA_KEY_VARIABLES"

# Everything of the clouds' tools: keys, but also names of files and services that hold keys.
_FAMILIES = ("AWS_", "AZURE_", "CLOUDSDK_", "GCP_", "GOOGLE_")
# Else a name is a secret's by its last words: HF_TOKEN, HUGGING_FACE_HUB_TOKEN, OPENAI_API_KEY, WANDB_API_KEY, ...
_ENDINGS = re.compile(
    r"(.*_)?(API_?KEYS?|ACCESS_KEY(_ID)?|SECRET_KEY|PRIVATE_KEY|TOKEN|SECRETS?|PASSWORD|PASSWD|CREDENTIALS?"
    r"|CONNECTION_STRING)"
)


def is_secret(name: str, environ: Mapping[str, str]) -> bool:
    """Whether a variable of an environment holds a secret, by its name.

    Args:
        environ: the environment, in which `ERRATA_KEY_VARIABLES` names more secrets.
    """
    upper = name.upper()
    return (
        upper.startswith(_FAMILIES)
        or _ENDINGS.fullmatch(upper) is not None
        or name in environ.get(KEY_VARIABLES, "").split(":")
    )


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment for a child process: the variables that hold no secret."""
    return {name: value for name, value in environ.items() if not is_secret(name, environ)}


def drop_secrets() -> None:
    """Remove the secrets from the environment of this process, before it runs code of a model."""
    for name in os.environ.keys() - without_secrets(os.environ).keys():
        del os.environ[name]
