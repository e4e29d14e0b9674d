"""Flags of `python -m errata STEP` for the `params` of the rules."""

import json
from typing import Any

from errata.config.variants import BASE
from errata.plan.plan import Plan, Wildcards

Flags = list[Any]


def flags(**values: Any) -> Flags:
    """Flags by name: `max_tokens=96` becomes `--max-tokens 96`.

    Args:
        values: a flag is left out if its value is None or False, has no value if it is True, and has several if it is
            a list.
    """
    found: Flags = []
    for name, value in values.items():
        if value is None or value is False:
            continue
        found.append("--" + name.replace("_", "-"))
        if value is not True:
            found += value if isinstance(value, list) else [value]
    return found


def unless(default: Any, value: Any) -> Any:
    """The value if it differs from the step's default, else None.

    Flags equal to the default are omitted, so that a new key of the configuration does not change the commands of
    existing files: Snakemake makes a file again when its command changes.
    """
    return None if value == default else value


def server_flags(plan: Plan, wildcards: Wildcards, input: Any) -> Flags:
    """How the model of an asking job is served, and which part of the questions it gets.

    Each part has its own port, since jobs may run on the same machine.

    Args:
        input: the job's input files; the server loads `weights`, which is empty for an endpoint.
    """
    model, variant = plan.model_to_ask(wildcards)
    settings, engine = plan.all_models[model], plan.engine(model, variant)
    part = int(wildcards.get("part", 1))
    endpoint = engine == "endpoint"
    return flags(
        engine=engine,
        model=(settings.served_name or model) if variant == BASE else f"{model}-{variant}",
        server_options=json.dumps(plan.server_options(model, variant)),
        ready_timeout=settings.ready_timeout,
        request_timeout=settings.request_timeout,
        restarts=settings.restarts,
        port=settings.port + part - 1 if settings.port else None,
        base_url=settings.base_url if endpoint else None,
        api_key_env=settings.api_key_env if endpoint else None,
        trust_remote_code=settings.trust_remote_code,
        weights=str(input.weights) if input.weights else None,
        part=f"{part}/{plan.shards}" if plan.shards > 1 else None,
    )
