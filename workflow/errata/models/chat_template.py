"""A checkpoint's chat template, rendered by transformers."""

from pathlib import Path
from typing import TYPE_CHECKING

from errata.core.errors import UserError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class ChatTemplate:
    """Renders one exchange the way the checkpoint's own chat template does. It takes seconds to load.

    Raises:
        UserError: the checkpoint has no chat template, or its tokenizer cannot be loaded.
    """

    def __init__(self, checkpoint: Path) -> None:
        from transformers import AutoTokenizer

        self._checkpoint = checkpoint
        try:
            self._tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(checkpoint, local_files_only=True)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{checkpoint}: its tokenizer cannot be loaded ({error}).") from error
        if not self._tokenizer.chat_template:
            raise UserError(f"{checkpoint}: has no chat template. Set quantize.calibration to `prompts`.")

    def render_exchange(self, prompt: str, completion: str) -> str:
        """The text that the model read and wrote, special tokens included.

        The completion is appended as it was generated: a template may drop the reasoning of earlier answers.

        Raises:
            UserError: the template is not valid, or refuses a user message without a system message.
        """
        import jinja2

        messages = [{"role": "user", "content": prompt}]
        try:
            rendered = self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        except (jinja2.TemplateError, TypeError) as error:
            raise UserError(
                f"{self._checkpoint}: its chat template cannot be used for a user message ({error})."
            ) from error
        return f"{rendered}{completion}{self._tokenizer.eos_token or ''}"
