"""The questions as a task of inspect_ai: `inspect eval inspect_task.py -T prompts=FILE`."""

from inspect_ai import Task, task
from inspect_ai.dataset import FieldSpec, json_dataset
from inspect_ai.scorer import pattern
from inspect_ai.solver import generate


@task
def questions(prompts: str) -> Task:
    """Lines {"prompt", "answer"}, each asked once, scored by the letter after "answer is"."""
    dataset = json_dataset(prompts, FieldSpec(input="prompt", target="answer"))
    return Task(dataset=dataset, solver=generate(), scorer=pattern(r"answer is ([A-Z])"))
