"""How reasoning models mark their thinking, and how a chat template turns it on and off."""

from __future__ import annotations

import re
from dataclasses import dataclass

from localchat.types import ReasoningMode

_TAG = re.compile(r"<[^<>\s]+>|\[/?[A-Z_ ]+\]|◁[^◁▷\s]+▷")


@dataclass(frozen=True, slots=True)
class Markers:
    """How a model marks its thinking, and its answer where it marks that too."""

    start: str
    end: str
    also_start: str = ""
    """Another text that begins what is not part of the answer."""
    between: str = ""
    """May stand in front of a span or the answer, and belongs to neither."""
    answer_start: str = ""
    answer_end: str = ""
    forced: str = ""
    """Ends the thinking when the model has to answer; by default `end` on a line of its own."""
    skipped: str = ""
    """Stands in the prompt for thinking that is left out; by default an empty span."""

    @property
    def spellings(self) -> frozenset[str]:
        """The tags in the markers: as control tokens they have no piece of text of their own, so
        it is their spelling that `ReasoningParser` has to be given."""
        texts = (self.start, self.end, self.also_start, self.between, self.answer_start)
        return frozenset(_TAG.findall("\n".join((*texts, self.answer_end))))


HARMONY = Markers(
    start="<|channel|>analysis<|message|>",
    end="<|end|>",
    also_start="<|channel|>commentary<|message|>",
    between="<|start|>assistant",
    answer_start="<|channel|>final<|message|>",
    answer_end="<|end|>",
    forced="<|end|><|start|>assistant<|channel|>final<|message|>",
    skipped="<|channel|>final<|message|>",
)
"""gpt-oss: every channel but `final` is thinking."""

# The first whose texts are in the template. Those of plain words come first: templates that ask
# for them may mention a tag as well.
_FAMILIES: tuple[tuple[tuple[str, ...], Markers], ...] = (
    (("<|channel|>", "<|message|>"), HARMONY),
    # gemma 4
    (("<|channel>thought",), Markers("<|channel>thought", "<channel|>")),
    # apriel
    (
        ("[BEGIN FINAL RESPONSE]", "Here are my reasoning steps:"),
        Markers(
            "Here are my reasoning steps:",
            "[BEGIN FINAL RESPONSE]",
            answer_end="[END FINAL RESPONSE]",
        ),
    ),
    # granite 3.2
    (
        ("Here is my thought process:", "Here is my response:"),
        Markers("Here is my thought process:", "Here is my response:"),
    ),
    # command a, command r7b
    (("<|START_THINKING|>",), Markers("<|START_THINKING|>", "<|END_THINKING|>")),
    # openthinker
    (
        ("<|begin_of_thought|>",),
        Markers(
            "<|begin_of_thought|>",
            "<|end_of_thought|>",
            answer_start="<|begin_of_solution|>",
            answer_end="<|end_of_solution|>",
        ),
    ),
    # apertus
    (("<|inner_prefix|>",), Markers("<|inner_prefix|>", "<|inner_suffix|>")),
    # seed-oss
    (("<seed:think>",), Markers("<seed:think>", "</seed:think>")),
    # magistral, ministral
    (("[THINK]",), Markers("[THINK]", "[/THINK]")),
    # kimi-vl
    (("◁think▷",), Markers("◁think▷", "◁/think▷")),
    # exaone deep
    (("<thought>",), Markers("<thought>", "</thought>")),
    # hunyuan
    (
        ("<think>", "<answer>"),
        Markers("<think>", "</think>", answer_start="<answer>", answer_end="</answer>"),
    ),
    # granite 3.3, ernie 4.5
    (
        ("<think>", "<response>"),
        Markers("<think>", "</think>", answer_start="<response>", answer_end="</response>"),
    ),
    # qwen 3, deepseek r1 and v3.1, smollm3, glm 4.5, nemotron, exaone 4, phi-4-reasoning, lfm 2.5
    (("</think>",), Markers("<think>", "</think>")),
    (("<think>",), Markers("<think>", "</think>")),
)


def find_markers(template_source: str) -> Markers | None:
    """The markers that a chat template knows; None for a model that does not think."""
    for texts, markers in _FAMILIES:
        if all(text in template_source for text in texts):
            return markers
    return None


# Each with the values that switch thinking on and off; of several texts, the first that the
# template spells counts.
_SWITCHES: tuple[tuple[str, tuple[object, ...], tuple[object, ...]], ...] = (
    ("enable_thinking", (True,), (False,)),
    ("thinking", (True,), (False,)),
    ("thinking_mode", ("enabled", "thinking"), ("disabled", "chat")),
)
_NO_EFFORT = ("none", "no_think")
_LITTLE_EFFORT = ("minimal", "low")


def template_variables(
    names: frozenset[str], strings: frozenset[str], mode: ReasoningMode
) -> dict[str, object]:
    """The variables that make a template ask for thinking, or for none.

    `names` are the variables that the template reads, `strings` the texts it spells. Auto passes
    none. On and off pass the switches the template reads: `enable_thinking`, `thinking` and
    `thinking_mode`; where it reads none of them but `reasoning_effort`, that: "high" for on if the
    template has a word for no effort (which may be its default, elsewhere on already is), and the
    least it knows for off. A template without any gets nothing: then `closing` turns thinking off,
    and on is left to the model, as are switches that stand in a system prompt.
    """
    if mode == "auto":
        return {}
    found: dict[str, object] = {}
    for name, on, off in _SWITCHES:
        values = on if mode == "on" else off
        known = [value for value in values if isinstance(value, bool) or value in strings]
        if name in names and known:
            found[name] = known[0]
    if found or "reasoning_effort" not in names:
        return found
    none = [word for word in _NO_EFFORT if word in strings]
    if mode == "on":
        return {"reasoning_effort": "high"} if none else {}
    little = [word for word in (*none, *_LITTLE_EFFORT) if word in strings]
    return {"reasoning_effort": (*little, "low")[0]}


def turns_off(variables: dict[str, object]) -> bool:
    """Whether these variables of mode off leave no thinking at all, not just little."""
    return any(value not in _LITTLE_EFFORT for value in variables.values())


def begins_inside(markers: Markers, rendered: str) -> bool:
    """Whether the completion of this prompt begins inside a thinking span."""
    return rendered.rstrip().endswith((markers.start, markers.also_start or markers.start))


def closing(markers: Markers, rendered: str, *, switched_off: bool) -> str:
    """What to append to a rendered prompt so that the model answers without thinking.

    Nothing where the prompt itself ends with a closed span, or the template was told
    (`switched_off`); the end of the span the prompt has opened; else an empty span, which is how
    templates with a switch tell their models too.
    """
    if begins_inside(markers, rendered):
        return budget_end(markers).removeprefix("\n" if rendered.endswith("\n") else "")
    if switched_off or rendered.rstrip().endswith(markers.skipped or markers.end):
        return ""
    return markers.skipped or f"{markers.start}\n\n{markers.end}\n\n"


def resumed(markers: Markers, rendered: str, reasoning: str, *, answers: bool) -> tuple[str, str]:
    """What to put before and after `reasoning` at the end of a rendered prompt, so that the model
    goes on with that thought, or, if it `answers` already, with its answer.

    A model that answered without thinking goes on without: no span is made up.
    """
    before = after = ""
    is_inside = begins_inside(markers, rendered)
    if reasoning and not is_inside:
        before = markers.start + ("" if markers.forced else "\n")
    if answers and (reasoning or is_inside):
        after = markers.forced or budget_end(markers) + markers.answer_start
    elif answers and not rendered.rstrip().endswith(markers.skipped):
        after = markers.skipped
    return before, after


def budget_end(markers: Markers) -> str:
    """The text that ends a span whose token budget is used up."""
    return markers.forced or f"\n{markers.end}\n\n"
