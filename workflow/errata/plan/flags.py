"""Flags of `python -m errata STEP`, which the rules write out in their `params`."""

import json
from typing import Any

from errata.config.variants import BASE
from errata.plan.plan import Plan, Wildcards

Flags = list[Any]


def flags(**values: Any) -> Flags:
    """Flags by name: `max_tokens=96` becomes `--max-tokens 96`.

    Args:
        values: None and False leave a flag out, True stands for a flag without a value, and a list for several values.
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
    """A value that differs from the step's default; None otherwise.

    A flag equal to the default is omitted, so that adding a key to the configuration does not make Snakemake rebuild
    existing files: it takes a changed command for a reason.
    """
    return None if value == default else value


def server_flags(plan: Plan, wildcards: Wildcards, input: Any) -> Flags:
    """How the model that a job asks is served, and which part of the questions it is asked.

    Jobs on one machine each have a port of their own.
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
