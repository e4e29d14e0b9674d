"""Benchmark 1: every question once. Errata's step answer against other clients, on one scripted server.

`python benchmarks/base_pass.py` prints the tables. The server measures the request phase, which is the same for all
clients: from the arrival of the first request to the last answer. A user waits for the whole command, with its imports
and files.
"""

import argparse
import json
import math
from collections.abc import Callable
from pathlib import Path

import questions
from measure import (
    HERE,
    MODEL,
    PEERS,
    PROMPT,
    Cost,
    Scripted,
    alternate,
    command,
    errata,
    machine,
    median,
    scratch,
    scripted,
    table,
)

from errata.asking import prompts
from errata.data.records import Problem

# lm-evaluation-harness's way to declare a task, with the same prompts as Errata's
_LM_EVAL_TASK = """\
task: scripted
dataset_path: json
dataset_kwargs: {{data_files: {{test: {prompts}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{prompt}}}}"
doc_to_target: "{{{{answer}}}}"
generation_kwargs: {{until: ["</s>"], max_gen_toks: 1024, temperature: 0.0, do_sample: false}}
filter_list:
  - name: letter
    filter:
      - {{function: regex, regex_pattern: "answer is ([A-Z])"}}
      - {{function: take_first}}
metric_list:
  - {{metric: exact_match}}
"""
_OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
Run = tuple[Cost, dict[str, float]]


def clients(server: Scripted, data: Path, folder: Path, concurrency: int) -> dict[str, Callable[[int], Run]]:
    """Every client by name; each takes the number of the round and returns its cost and the server's metrics."""
    prompt_file = folder / "prompts.jsonl"
    write_prompts(data, prompt_file)
    (folder / "task.yaml").write_text(_LM_EVAL_TASK.format(prompts=prompt_file))

    def ours(number: int) -> Cost:
        sampling = ["--concurrency", concurrency, "--max-tokens", 1024, "--prompt", PROMPT]
        return errata("answer", data, folder / f"errata-{number}", server.base_url, *sampling)[0]

    def lm_eval(number: int) -> Cost:
        model = f"model={MODEL},base_url={server.base_url}/chat/completions,num_concurrent={concurrency}"
        model += ",tokenizer_backend=None,tokenized_requests=False"
        arguments = ["run", "--model", "local-chat-completions", "--model_args", model, "--tasks", "scripted"]
        arguments += ["--include_path", str(folder), "--apply_chat_template", "--log_samples"]
        arguments += ["--output_path", str(folder / f"lm_eval-{number}")]
        cache = {"HF_HOME": str(folder / "cache"), "OPENAI_API_KEY": "none"}
        return command([PEERS / "lm_eval", *arguments], folder / f"lm_eval-{number}.log", {**_OFFLINE, **cache})

    def inspect(number: int) -> Cost:
        arguments = ["eval", f"{HERE / 'peers' / 'inspect_task.py'}@questions", "-T", f"prompts={prompt_file}"]
        arguments += ["--model", f"openai-api/scripted/{MODEL}", "--model-base-url", server.base_url]
        arguments += ["--max-connections", str(concurrency), "--max-samples", str(concurrency)]
        arguments += ["--max-tokens", "1024", "--temperature", "0", "--display", "plain"]
        arguments += ["--log-dir", str(folder / f"inspect-{number}")]
        return command([PEERS / "inspect", *arguments], folder / f"inspect-{number}.log", {"SCRIPTED_API_KEY": "none"})

    def bare(kind: str) -> Callable[[int], Cost]:
        def run(number: int) -> Cost:
            arguments = [PEERS / "python", HERE / "peers" / "bare.py", kind, "--prompts", prompt_file]
            arguments += ["--output", folder / f"{kind}-{number}.jsonl", "--base-url", server.base_url]
            return command([*arguments, "--concurrency", str(concurrency)], folder / f"{kind}-{number}.log")

        return run

    def measured(run: Callable[[int], Cost]) -> Callable[[int], Run]:
        def with_metrics(number: int) -> Run:
            server.reset()
            cost = run(number)
            return cost, server.reset()

        return with_metrics

    named = {
        "Errata, step answer": ours,
        "lm-evaluation-harness 0.4.13": lm_eval,
        "inspect_ai 0.3.285": inspect,
        "bare AsyncOpenAI loop": bare("openai"),
        "bare aiohttp loop": bare("aiohttp"),
    }
    return {name: measured(run) for name, run in named.items()}


def write_prompts(data: Path, path: Path) -> None:
    """The prompts of Errata's step answer, one {"problem", "question", "prompt", "answer"} a line."""
    template = prompts.read(PROMPT)
    with data.open(encoding="utf-8") as source, path.open("w", encoding="utf-8") as file:
        for problem in map(Problem.from_record, map(json.loads, source)):
            for question in problem.questions:
                prompt = template.render(problem, question)
                row = {"problem": problem.id, "question": question.index, "prompt": prompt, "answer": question.answer}
                file.write(json.dumps(row) + "\n")


def compare(folder: Path, number: int, concurrency: int, delay: float, rounds: int, only: list[str]) -> str:
    data = questions.write(folder / "questions.jsonl", number)
    with scripted("--delay", delay) as server:
        chosen = clients(server, data, folder, concurrency)
        chosen = {name: run for name, run in chosen.items() if not only or any(each in name for each in only)}
        results = alternate(chosen, rounds)
    ideal = math.ceil(number / concurrency) * delay
    rows = []
    for name, runs in results.items():
        assert all(metrics["answered"] == number for _, metrics in runs), f"{name}: not every question was answered"
        phase = median(metrics["request_seconds"] for _, metrics in runs)
        cpu = median(cost.cpu for cost, _ in runs)
        rows.append(
            (
                name,
                f"{phase:.2f}",
                f"{number / phase:.0f}",
                f"{median(cost.wall for cost, _ in runs):.1f}",
                f"{cpu:.1f}",
                f"{1000 * cpu / number:.1f}",
                f"{median(cost.memory for cost, _ in runs):.0f}",
                f"{median(metrics['most_at_once'] for _, metrics in runs):.0f}",
            )
        )
    header = ["client", "request phase, s", "questions/s", "whole command, s", "CPU, s", "CPU a question, ms"]
    title = f"{number} questions, concurrency {concurrency}, replies after {delay} s: ideal {ideal:.1f} s; "
    title += f"medians of {rounds} alternating rounds\n\n"
    return title + table([*header, "peak memory, MiB", "most at once"], rows)


def near_ideal(folder: Path, number: int, concurrency: int, delay: float, rounds: int) -> str:
    """Errata alone, with slow replies and many at once: by how much its request phase exceeds the ideal one."""
    data = questions.write(folder / "many.jsonl", number)
    ideal = math.ceil(number / concurrency) * delay
    rows = []
    with scripted("--delay", delay) as server:
        for turn in range(rounds):
            server.reset()
            sampling = ["--concurrency", concurrency, "--max-tokens", 1024, "--prompt", PROMPT]
            _, summary = errata("answer", data, folder / f"slow-{turn}", server.base_url, *sampling)
            phase = server.reset()["request_seconds"]
            ours = summary["wall_seconds"]
            row = (turn + 1, f"{ideal:.1f}", f"{phase:.2f}", f"{ours:.2f}", f"{100 * (phase / ideal - 1):.1f} %")
            rows.append(row)
    title = f"{number} questions, concurrency {concurrency}, replies after {delay} s\n\n"
    return title + table(["round", "ideal, s", "request phase, s", "Errata's own figure, s", "above ideal"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", default=[], help="only clients whose name contains one of these")
    parser.add_argument("--slow-rounds", type=int, default=1, help="rounds of the second table; 0 leaves it out")
    arguments = parser.parse_args()
    print(f"{machine('lm_eval', 'inspect_ai', 'openai', 'aiohttp')}\n", flush=True)
    with scratch() as folder:
        print(compare(folder, 1415, 256, 0.2, arguments.rounds, arguments.only), flush=True)
        if arguments.slow_rounds:
            print(near_ideal(folder, 4096, 1024, 5.0, arguments.slow_rounds))


if __name__ == "__main__":
    main()
