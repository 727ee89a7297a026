"""From what a user asks for to a plan: settings, presets and the input have their say."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from localchat.answer_form import AnswerForm
from localchat.batch.plan import Plan
from localchat.batch.readers.source import Input
from localchat.config import Settings
from localchat.errors import UsageError
from localchat.paths import Paths
from localchat.presets.precedence import decide
from localchat.session.options import Options
from localchat.types import ModelRef

_HELP = "localchat batch run --help"


def plan(
    source: Input,
    flags: Mapping[str, Any],
    parameters: Mapping[str, str],
    settings: Settings,
    places: Paths,
    find_model: Callable[[str], ModelRef],
    *,
    prompt: str | None,
    form: AnswerForm | None,
    choices: tuple[str, ...],
    reasoning_budget: int | None,
) -> Plan:
    """`flags` and `parameters` are those of `localchat.presets.precedence.decide`.

    Raises UsageError, ConfigError, and what `find_model` raises.
    """
    if choices:
        _check(choices, flags, form)
    if form is not None:
        flags = {**flags, "json_schema": form.schema}
    template = _template(prompt, source)
    decided = decide(flags, parameters, settings, places)
    model = find_model(decided.model)
    options = Options(decided.params(model), decided.reasoning, reasoning_budget)
    return Plan(model, options, source.format, template, decided.system, form, choices)


def concurrency(plan: Plan, settings: Settings) -> int:
    """Rows that keep an engine busy: twice what it decodes together, so that one is always there
    when another ends."""
    return max(2, 2 * settings.parallel // plan.options.params.n)


def _check(choices: tuple[str, ...], flags: Mapping[str, Any], form: AnswerForm | None) -> None:
    if len(choices) < 2 or not all(choices) or len(set(choices)) < len(choices):
        raise UsageError("Choices are two or more different texts.", "--choices yes,no")
    if form is not None or flags.get("grammar") is not None or flags.get("n") not in (None, 1):
        raise UsageError(
            "With choices nothing is generated: they can't be had with a schema, a grammar or"
            " several answers.",
            _HELP,
        )


def _template(prompt: str | None, source: Input) -> str | None:
    """What is given, or what a table calls a prompt."""
    if prompt is not None:
        if source.format == "openai":
            raise UsageError(
                "The rows of this input bring their own messages: they need no prompt.",
                "For rows that are only objects: --format jsonl",
            )
        return prompt
    if source.columns is None:
        return None
    for name in ("prompt", "text"):
        if name in source.columns:
            return f"{{{name}}}"
    raise UsageError(
        f"It is not said what to ask about the rows of {source.name}.",
        f'Give a prompt with its columns: --prompt "… {{{source.columns[-1]}}}"',
    )
