from __future__ import annotations

import pytest

from localchat.engine.chat_template import ChatTemplate
from localchat.engine.markers import (
    HARMONY,
    begins_inside,
    closing,
    find_markers,
    template_variables,
    turns_off,
)
from localchat.types import Message, ReasoningMode
from tests.tiny_models import CHATML

TURNS = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>{{ '\\n' }}"

# As the templates of these families do it, and no more than that.
TEMPLATES = {
    "qwen3": TURNS + "{% if enable_thinking is defined and enable_thinking is false %}"
    "{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}",
    "qwen3-thinking": TURNS + "{{ '<think>\\n' }}",
    "smollm3": "{% if enable_thinking is not defined %}{% set enable_thinking = true %}{% endif %}"
    + TURNS
    + "{% if not enable_thinking %}{{ '<think>\\n\\n</think>\\n' }}{% endif %}",
    "deepseek-v3.1": "{% if not thinking is defined %}{% set thinking = false %}{% endif %}"
    + TURNS
    + "{% if thinking %}<think>{% else %}</think>{% endif %}",
    "nemotron-1.5": "{% set enable_thinking = true %}{% if '/no_think' in messages[0].content %}"
    "{% set enable_thinking = false %}{% endif %}"
    + TURNS
    + "{% if not enable_thinking %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}",
    "nemotron-nano": TURNS + "{{ '<think>\\n\\n' }}",
    "lfm2.5": "{% for m in messages %}{% generation %}{{ m.content.split('</think>')[-1] }}"
    "{% endgeneration %}{% endfor %}<assistant>{{ '\\n' }}",
    "granite-3.3": "{% if thinking %}Think between <think></think>, write between "
    "<response></response>.{% endif %}" + TURNS,
    "granite-3.2": "{% if thinking %}Write your thoughts after 'Here is my thought process:' and "
    "your response after 'Here is my response:'.{% endif %}" + TURNS,
    "hunyuan": TURNS + "{% if enable_thinking is defined and not enable_thinking %}"
    "{{ '<think>\\n\\n</think>\\n<answer>\\n' }}{% endif %}",
    "gemma4": "{% if enable_thinking %}<|think|>{% endif %}"
    + TURNS
    + "{% if not enable_thinking | default(false) %}{{ '<|channel>thought\\n<channel|>' }}"
    "{% endif %}",
    "magistral": "Draft with [THINK] and [/THINK]." + TURNS,
    "mistral-effort": "{% set reasoning_effort = reasoning_effort | default('none') %}"
    "{% if reasoning_effort not in ['none', 'high'] %}{{ raise_exception('no') }}{% endif %}"
    "[EFFORT {{ reasoning_effort }}]{{ '[THINK]'[:0] }}" + TURNS,
    "command": TURNS + "<|START_THINKING|>",
    "seed": "{% set think = '<seed:think>' %}{% if not thinking_budget is defined %}"
    "{% set thinking_budget = -1 %}{% endif %}" + TURNS,
    "apriel": "Respond after [BEGIN FINAL RESPONSE]."
    + TURNS
    + "{{ 'Here are my reasoning steps:\\n' }}",
    "exaone-deep": TURNS + "{{ '<thought>\\n' }}",
    "kimi-vl": "{{ '◁think▷'[:0] }}" + TURNS,
    "gpt-oss": "{% if not reasoning_effort is defined %}{% set reasoning_effort = 'medium' %}"
    "{% endif %}Reasoning: {{ reasoning_effort }}{{ '<|channel|>analysis<|message|>'[:0] }}"
    "{% for m in messages %}{{ m.content }}{% endfor %}<|start|>assistant",
}
STARTS = {
    "granite-3.2": "Here is my thought process:",
    "gemma4": "<|channel>thought",
    "magistral": "[THINK]",
    "mistral-effort": "[THINK]",
    "command": "<|START_THINKING|>",
    "seed": "<seed:think>",
    "apriel": "Here are my reasoning steps:",
    "exaone-deep": "<thought>",
    "kimi-vl": "◁think▷",
    "gpt-oss": "<|channel|>analysis<|message|>",
}


def prompt_end(family: str, mode: ReasoningMode) -> tuple[str, bool]:
    """What follows the conversation in the prompt, and whether thinking is open there."""
    template = ChatTemplate(TEMPLATES[family], bos="", eos="")
    markers = find_markers(template.source)
    assert markers is not None
    variables = template_variables(template.variables, template.strings, mode)
    rendered = template.render((Message("user", "Hi"),), variables)
    if mode == "off":
        rendered += closing(markers, rendered, switched_off=turns_off(variables))
    return rendered.partition("Hi")[2].removeprefix("<assistant>\n"), begins_inside(
        markers, rendered
    )


@pytest.mark.parametrize("family", TEMPLATES)
def test_the_markers_of_a_family_are_found_in_its_template(family: str) -> None:
    markers = find_markers(TEMPLATES[family])
    assert markers is not None
    assert markers.start == STARTS.get(family, "<think>")


def test_a_template_without_markers_has_none() -> None:
    assert find_markers(CHATML) is None
    assert find_markers("") is None


def test_answers_that_are_marked_too_are_known() -> None:
    for family, end in (("granite-3.3", "</response>"), ("hunyuan", "</answer>")):
        markers = find_markers(TEMPLATES[family])
        assert markers is not None
        assert markers.answer_end == end


@pytest.mark.parametrize("family", TEMPLATES)
@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (
            "auto",
            {
                "qwen3-thinking": "<think>\n",
                "deepseek-v3.1": "</think>",
                "nemotron-nano": "<think>\n\n",
                "gemma4": "<|channel>thought\n<channel|>",
                "command": "<|START_THINKING|>",
                "apriel": "Here are my reasoning steps:\n",
                "exaone-deep": "<thought>\n",
                "gpt-oss": "<|start|>assistant",
            },
        ),
        (
            "on",
            {
                "qwen3-thinking": "<think>\n",
                "deepseek-v3.1": "<think>",
                "nemotron-nano": "<think>\n\n",
                "command": "<|START_THINKING|>",
                "apriel": "Here are my reasoning steps:\n",
                "exaone-deep": "<thought>\n",
                "gpt-oss": "<|start|>assistant",
            },
        ),
        (
            "off",
            {
                "qwen3": "<think>\n\n</think>\n\n",
                "qwen3-thinking": "<think>\n</think>\n\n",
                "smollm3": "<think>\n\n</think>\n",
                "deepseek-v3.1": "</think>",
                "nemotron-1.5": "<think>\n\n</think>\n\n",
                "nemotron-nano": "<think>\n\n</think>\n\n",
                "lfm2.5": "<think>\n\n</think>\n\n",
                "hunyuan": "<think>\n\n</think>\n<answer>\n",
                "gemma4": "<|channel>thought\n<channel|>",
                "magistral": "[THINK]\n\n[/THINK]\n\n",
                "command": "<|START_THINKING|>\n<|END_THINKING|>\n\n",
                "seed": "<seed:think>\n\n</seed:think>\n\n",
                "apriel": "Here are my reasoning steps:\n[BEGIN FINAL RESPONSE]\n\n",
                "exaone-deep": "<thought>\n</thought>\n\n",
                "kimi-vl": "◁think▷\n\n◁/think▷\n\n",
                "gpt-oss": "<|start|>assistant<|channel|>final<|message|>",
            },
        ),
    ],
)
def test_a_prompt_ends_as_the_mode_asks(
    family: str, mode: ReasoningMode, expected: dict[str, str]
) -> None:
    end, inside = prompt_end(family, mode)
    assert end == expected.get(family, "")
    assert inside == (end.rstrip() == STARTS.get(family, "<think>"))
    assert not (inside and mode == "off")


@pytest.mark.parametrize(
    ("family", "on", "off"),
    [
        ("qwen3", {"enable_thinking": True}, {"enable_thinking": False}),
        ("deepseek-v3.1", {"thinking": True}, {"thinking": False}),
        ("nemotron-1.5", {}, {}),
        ("magistral", {}, {}),
        ("mistral-effort", {"reasoning_effort": "high"}, {"reasoning_effort": "none"}),
        ("gpt-oss", {}, {"reasoning_effort": "low"}),
    ],
)
def test_a_template_gets_the_switches_it_reads(
    family: str, on: dict[str, object], off: dict[str, object]
) -> None:
    template = ChatTemplate(TEMPLATES[family], bos="", eos="")
    names, strings = template.variables, template.strings
    assert template_variables(names, strings, "on") == on
    assert template_variables(names, strings, "off") == off
    assert template_variables(names, strings, "auto") == {}


def test_a_switch_goes_before_an_effort() -> None:
    names = frozenset({"thinking", "reasoning_effort"})
    assert template_variables(names, frozenset({"none"}), "off") == {"thinking": False}


def test_a_switch_of_words_gets_those_the_template_spells() -> None:
    names = frozenset({"thinking_mode"})
    assert template_variables(names, frozenset({"chat", "thinking"}), "off") == {
        "thinking_mode": "chat"
    }
    assert template_variables(names, frozenset({"enabled"}), "on") == {"thinking_mode": "enabled"}
    assert template_variables(names, frozenset(), "on") == {}


def test_the_spellings_are_the_tags_in_the_markers() -> None:
    assert HARMONY.spellings == {"<|channel|>", "<|message|>", "<|end|>", "<|start|>"}
    for family, tags in {
        "qwen3": {"<think>", "</think>"},
        "magistral": {"[THINK]", "[/THINK]"},
        "gemma4": {"<|channel>", "<channel|>"},
        "kimi-vl": {"◁think▷", "◁/think▷"},
        "granite-3.2": set[str](),
    }.items():
        markers = find_markers(TEMPLATES[family])
        assert markers is not None
        assert markers.spellings == tags
