"""What a batch asks of every row. All of it decides answers: none of it may change midway."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from localchat.answer_form import AnswerForm
from localchat.batch.readers.source import Format
from localchat.session.options import Options, to_json
from localchat.types import ModelRef


@dataclass(frozen=True, slots=True)
class Plan:
    """Values of one run, the same for each row but for what a row says itself."""

    model: ModelRef
    options: Options
    """Sampling values, and whether a reasoning model thinks first."""
    format: Format
    """Of the input."""
    prompt: str | None = None
    """The template; None: rows bring their own."""
    system: str | None = None
    form: AnswerForm | None = None
    """What each answer has to look like."""
    choices: tuple[str, ...] = ()
    """Answer with the likeliest of these texts; nothing is generated."""

    def to_json(self) -> dict[str, Any]:
        """What a manifest remembers, by the names that a user knows."""
        values = to_json(self.options)
        if self.options.params.n != 1:
            values["n"] = self.options.params.n
        if self.options.params.logprobs is not None:
            values["logprobs"] = self.options.params.logprobs
        return values | {
            "model": _identity(self.model),
            "format": self.format,
            "prompt": self.prompt,
            "system": self.system,
            "choices": list(self.choices),
        }


def _identity(model: ModelRef) -> dict[str, Any]:
    """By what a model is known again: a file that nobody has hashed, by what it looks like."""
    if model.sha256 is not None:
        return {"name": model.name, "sha256": model.sha256}
    found = Path(model.path).stat()
    looks = {"size": found.st_size, "mtime_ns": found.st_mtime_ns}
    return {"name": model.name, "sha256": None, **looks}
