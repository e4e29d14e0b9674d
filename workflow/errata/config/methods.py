"""The methods of making training data.

A further method is an entry here, a prompt, and the handling of its completions in `errata.asking`.
"""

from dataclasses import dataclass, field
from typing import Literal

Stage = Literal["sft", "dpo"]


@dataclass(frozen=True)
class MethodSpec:
    """The facts of a method.

    Attributes:
        stage: LLaMA-Factory's name of the kind of training: `sft` on completions, `dpo` on pairs of them.
        completions: the method by which its completions are asked for: its own name, or that of another method.
        prompts: the prompt templates it asks with, beside that of the first answers. The first asks for a completion;
            a second one verifies it.
        options: the options that it takes, of those that not every method takes: `teacher`, `questions`, `pairs`,
            `replay`.
        shows_mistake: the model sees its own wrong completion, so it can only be asked about first-wrong questions.
    """

    stage: Stage
    completions: str
    prompts: tuple[str, ...] = ()
    options: frozenset[str] = field(default_factory=frozenset)
    shows_mistake: bool = False

    @property
    def gives_answer(self) -> bool:
        """Whether its prompt contains the right answer, so that a completion may repeat it without reasoning."""
        return bool(self.prompts)

    @property
    def verified(self) -> bool:
        """Whether a second request checks that the reasoning of a completion leads to the answer."""
        return len(self.prompts) > 1

    @property
    def first_wrong_only(self) -> bool:
        """Whether all its completions are of questions that were first answered wrong."""
        return "questions" not in self.options


METHODS: dict[str, MethodSpec] = {
    # the model is asked again until it is right
    "self": MethodSpec("sft", "self", options=frozenset({"replay"})),
    # a teacher, who is given the right answer, writes the reasoning
    "distill": MethodSpec("sft", "distill", ("distill",), frozenset({"teacher", "questions", "replay"})),
    # the model, given its wrong completion and the right answer, finds the mistake and writes the reasoning again
    "reflect": MethodSpec("sft", "reflect", ("reflect", "conclude"), frozenset({"replay"}), shows_mistake=True),
    # a right completion against a wrong one of the same question
    "dpo": MethodSpec("dpo", "self", options=frozenset({"pairs"})),
}
# Methods that ask for completions of their own.
ASKING_METHODS = tuple(name for name, spec in METHODS.items() if spec.completions == name)


def methods_with(option: str) -> list[str]:
    """The methods that take an option of a strategy."""
    return [name for name, spec in METHODS.items() if option in spec.options]
