"""What the rules tell the steps: flags of `python -m errata STEP` that follow from the configuration.

A flag that says what is the default anyway is left out, so that files which were made before there was the key stay
what they are: for Snakemake a changed command is a reason to make them anew.
"""

import json
from collections.abc import Sequence
from typing import Any

from errata.config.sources import trained_here
from errata.config.variants import BASE
from errata.plan.plan import Plan, Wildcards

Flags = list[Any]


class Told:
    """The flags of a plan; the methods that take wildcards are parameters of the rules."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan

    def fix(self, wildcards: Wildcards) -> Flags:
        dataset = self.plan.config["dataset"]
        flags: Flags = ["--corrections", dataset["corrections"]] if dataset["corrections"] else []
        flags += ["--take", dataset["take"][wildcards.split]] if wildcards.split in dataset["take"] else []
        return flags + (["--labelled"] if wildcards.split == "train" else [])

    def fetch(self, wildcards: Wildcards) -> Flags:
        settings = self.plan.settings[wildcards.model]
        flags: Flags = ["--source", settings["source"]]
        flags += ["--revision", settings["revision"]] if settings["revision"] else []
        return flags + (["--sha256", settings["sha256"]] if settings["sha256"] else [])

    def gguf(self, wildcards: Wildcards) -> Flags:
        number_format = self.plan.settings[wildcards.model]["gguf"]
        return ["--format", number_format] if number_format != "f16" else []

    def remote_code(self, wildcards: Wildcards) -> Flags:
        return self._remote_code(wildcards.model)

    def _remote_code(self, model: str) -> Flags:
        return ["--trust-remote-code"] if self.plan.settings[model]["trust_remote_code"] else []

    # Asking

    def asking(self, wildcards: Wildcards, input: Any) -> Flags:
        """Of a server, and of the part that it is asked about."""
        part = int(wildcards.get("part", 1))
        flags = self._server(*self.plan.respondent(wildcards), part)
        flags += ["--weights", str(input.weights)] if input.weights else []
        return flags + (["--part", f"{part}/{self.plan.shards}"] if self.plan.shards > 1 else [])

    def _server(self, model: str, variant: str, part: int) -> Flags:
        """Of a model server; of several on one machine each has a port of its own."""
        settings, engine = self.plan.settings[model], self.plan.engine(model, variant)
        name = settings["served_name"] or model if variant == BASE else f"{model}-{variant}"
        flags: Flags = ["--engine", engine, "--model", name]
        flags += ["--server-options", json.dumps(self.plan.server_options(model, variant))]
        flags += ["--ready-timeout", settings["ready_timeout"], "--request-timeout", settings["request_timeout"]]
        flags += ["--restarts", settings["restarts"]]
        if settings["port"]:
            flags += ["--port", settings["port"] + part - 1]
        if engine == "endpoint":
            flags += ["--base-url", settings["base_url"], "--api-key-env", settings["api_key_env"]]
        return flags + self._remote_code(model)

    def sampling(self, temperature: float | Sequence[float], top_p: float = 1.0) -> Flags:
        generate = self.plan.config["generate"]
        ladder = temperature if isinstance(temperature, Sequence) else [temperature]
        flags: Flags = ["--max-tokens", generate["max_tokens"], "--temperature", *ladder, "--top-p", top_p]
        return [*flags, "--seed", generate["seed"]]

    def retry(self, wildcards: Wildcards) -> Flags:
        """How often and of what a model is asked again, and with which prompts."""
        generate, strategy = self.plan.config["generate"], self.plan.strategy(wildcards)
        flags: Flags = ["--attempts", generate["attempts"], "--keep", strategy.keep]
        flags += ["--hedging", generate["hedging"]]
        flags += ["--token-budget", generate["token_budget"]] if generate["token_budget"] else []
        flags += ["--time-budget", generate["time_budget"]] if generate["time_budget"] else []
        if prompts := self.plan.method_prompts(wildcards):
            flags += ["--method", strategy.method]
            for flag, path in zip(["--prompt", "--conclude"], prompts, strict=False):
                flags += [flag, path]
        return flags + self.about(wildcards)

    def about(self, wildcards: Wildcards) -> Flags:
        questions = self.plan.strategy(wildcards).questions
        return ["--about", questions] if questions != "wrong" else []

    # Learning

    def learning(self, wildcards: Wildcards) -> Flags:
        """What of a strategy's completions goes into its training set."""
        strategy = self.plan.strategy(wildcards)
        flags: Flags = ["--method", strategy.method, "--keep", strategy.keep]
        flags += ["--pairs", strategy.pairs] if strategy.method == "dpo" else []
        flags += ["--replay", strategy.replay] if strategy.replay else []
        return flags + (["--or-nothing"] if self.plan.may_be_empty(strategy.name) else [])

    def training(self, wildcards: Wildcards) -> Flags:
        chosen = self.plan.config["distributed"]
        flags: Flags = ["--strategy", chosen["strategy"]] if chosen["strategy"] != "ddp" else []
        flags += ["--processes", chosen["processes"]] if chosen["processes"] else []
        flags += ["--continuations", chosen["continuations"]] if chosen["continuations"] != 20 else []
        flags += ["--grace", chosen["grace"]] if chosen["grace"] != 25 else []
        flags += ["--margin", chosen["margin"]] if chosen["margin"] is not None else []
        return self.remote_code(wildcards) + flags

    def settings(self, wildcards: Wildcards) -> str:
        """LLaMA-Factory's keys for a strategy, as JSON."""
        return json.dumps({**self.plan.config["train"], **self.plan.strategy(wildcards).train}, sort_keys=True)

    def score(self, wildcards: Wildcards) -> Flags:
        """A base model that was itself trained here has seen the training questions, whatever is left out later."""
        sources = {name: settings["source"] for name, settings in self.plan.settings.items()}
        seen = wildcards.split != "test" and trained_here(sources, wildcards.model)
        return ["--held-out", "no"] if seen else []
