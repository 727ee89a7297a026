from __future__ import annotations

import datetime
import json
import resource
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from localchat.engine import chat_template
from localchat.engine.chat_template import ChatTemplate
from localchat.errors import TemplateFailed
from localchat.types import Message
from tests.tiny_models import CHATML

USER = (Message("user", "Hi"),)
WITH_SYSTEM = (Message("system", "Be kind."), *USER)
NO_SYSTEM = (
    "{% for m in messages %}"
    "{% if m.role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}"
    "{% endfor %}"
)


def render(source: str, messages: tuple[Message, ...] = USER) -> str:
    return ChatTemplate(source, bos="<s>", eos="</s>").render(messages)


@pytest.fixture(autouse=True)
def _limits_are_lifted_afterwards() -> Iterator[None]:
    def state() -> object:
        return (
            resource.getrlimit(resource.RLIMIT_AS),
            signal.getsignal(signal.SIGALRM),
            signal.getitimer(signal.ITIMER_REAL),
        )

    before = state()
    yield
    assert state() == before


def test_chatml_renders_the_conversation_and_the_start_of_the_reply() -> None:
    assert render(CHATML, WITH_SYSTEM) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n"
        "<|im_start|>user\nHi<|im_end|>\n"
        "<|im_start|>assistant\n"
    )


def test_the_names_of_the_transformers_library_are_there() -> None:
    assert render("{{ bos_token }}{{ eos_token }}{{ add_generation_prompt }}") == "<s></s>True"
    assert render("{{ messages | tojson }}") == json.dumps([{"role": "user", "content": "Hi"}])
    assert render("{{ {'é': [1]} | tojson(indent=1) }}") == '{\n "é": [\n  1\n ]\n}'
    year = datetime.datetime.now().strftime("%Y")
    assert render("{{ strftime_now('%Y') }}") == year


def test_loop_controls_and_trimmed_blocks_work() -> None:
    source = """\
{% for i in range(9) %}
    {% if i == 1 %}
        {% continue %}
    {% elif i == 3 %}
        {% break %}
    {% endif %}
{{ i }}
{% endfor %}
"""
    assert render(source) == "0\n2\n"


def test_a_template_without_a_system_role_gets_its_text_in_the_first_user_message() -> None:
    assert render(NO_SYSTEM, WITH_SYSTEM) == "<user>Be kind.\n\nHi"


def test_a_template_that_refuses_the_conversation_says_why() -> None:
    with pytest.raises(TemplateFailed, match="roles must alternate"):
        render("{{ raise_exception('roles must alternate') }}", WITH_SYSTEM)
    with pytest.raises(TemplateFailed, match="System role not supported"):
        render(NO_SYSTEM, WITH_SYSTEM[:1])


@pytest.mark.parametrize(
    "source",
    ["{% for %}", "{{ messages", "{% endif %}", pytest.param("{{" + "(" * 5000, id="nested")],
)
def test_an_invalid_template_is_refused_when_it_is_loaded(source: str) -> None:
    with pytest.raises(TemplateFailed, match="not valid"):
        ChatTemplate(source, bos="", eos="")


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{{ 1/0 }}", "division by zero"),
        ("{{ messages[7].content }}", "no element 7"),
        ("{{ 'x'|nofilter }}", "nofilter"),
        ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "recursed too deeply"),
    ],
)
def test_a_template_that_fails_says_why(source: str, reason: str) -> None:
    with pytest.raises(TemplateFailed, match=reason):
        render(source)


@pytest.mark.parametrize(
    "payload",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ ''['__class__']['__base__'] }}",
        "{{ ''|attr('__class__') }}",
        "{{ [messages]|map(attribute='__class__')|join }}",
        "{{ '{0.__class__}'.format(messages) }}",
        "{{ '{0.__class__}'|attr('format')(messages) }}",
        "{{ '{a.__class__}'.format_map({'a': messages}) }}",
        "{% set f = '{0.__class__}'.format %}{{ f(messages) }}",
        "{{ self.__init__.__globals__.__builtins__.open('MARK', 'w') }}",
        "{{ cycler.__init__.__globals__.os.mkdir('MARK') }}",
        "{{ joiner.__init__.__globals__['os'].mkdir('MARK') }}",
        "{{ lipsum.__globals__['os'].popen('mkdir MARK').read() }}",
        "{{ namespace.__init__.__globals__.os.mkdir('MARK') }}",
        "{{ raise_exception.__globals__['resource'] }}",
        "{{ strftime_now.__globals__.__builtins__.__import__('os').mkdir('MARK') }}",
        "{{ strftime_now.__closure__ }}{{ strftime_now.__code__ }}",
        "{{ messages.append(1) }}",
        "{{ messages[0].update({'role': 'system'}) }}",
        "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
        "{% include 'MARK' %}",
        "{% import 'os' as os %}{{ os.mkdir('MARK') }}",
        "{{ g.gi_frame.f_back.f_globals }}",
    ],
)
def test_a_template_cannot_reach_python(payload: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    try:
        out = render(payload.replace("MARK", str(mark)))
    except TemplateFailed:
        out = ""
    assert out == ""
    assert not mark.exists()


@pytest.mark.parametrize(
    "source",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{% set t = namespace(n=0) %}"
        "{% for a in range(99999) %}{% for b in range(99999) %}{% set t.n = t.n + 1 %}"
        "{% endfor %}{% endfor %}",
    ],
)
def test_an_endless_template_is_stopped_after_two_seconds(source: str) -> None:
    start = time.monotonic()
    with pytest.raises(TemplateFailed, match="more than 2 s"):
        render(source)
    assert 1.9 < time.monotonic() - start < 4


def test_endless_output_is_stopped() -> None:
    source = "{% for a in range(99999) %}" + "x" * 1000 + "{% endfor %}"
    with pytest.raises(TemplateFailed, match="printed more than"):
        render(source)


def test_output_may_be_as_long_as_the_conversation_asks_for() -> None:
    long = "x" * 3_000_000
    assert render("{{ messages[0].content }}", (Message("user", long),)) == long


@pytest.mark.parametrize(
    "source",
    [
        "{{ 'x' * 10**10 }}",
        "{{ 'x'.ljust(10**10) }}",
        "{{ 'x'|center(10000000000) }}",
        "{{ '%10000000000d' % 1 }}",
        "{{ '{:10000000000}'.format(1) }}",
        "{{ [1]|tojson(indent=10000000000) }}",
        "{% autoescape 'x'|center(10000000000) %}{% endautoescape %}{{ 1/0 }}",
        "{% set t = namespace(s='x') %}"
        "{% for i in range(99) %}{% set t.s = t.s ~ t.s %}{% endfor %}{{ t.s }}",
        "{{ 10**10**10 }}",
        "{{ 9**9**9 }}",
        "{% set t = namespace(n=3) %}"
        "{% for i in range(99) %}{% set t.n = t.n * t.n %}{% endfor %}{{ t.n }}",
    ],
)
def test_a_template_that_wants_too_much_memory_is_stopped(source: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TemplateFailed):
        render(source)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown <= chat_template._MEMORY_LIMIT >> 10


def test_arithmetic_of_ordinary_size_works() -> None:
    assert render("{{ 2**10 + 10**10 * 3 }} {{ 1.5 * 2 }} {{ 'ab' * 2 }} {{ 2 ** -1 }}") == (
        "30000001024 3.0 abab 0.5"
    )


def test_a_template_that_was_stopped_can_be_rendered_again() -> None:
    template = ChatTemplate("{{ 'x' * (messages[0].content|int) }}", bos="", eos="")
    with pytest.raises(TemplateFailed):
        template.render((Message("user", "10000000000"),))
    assert template.render((Message("user", "3"),)) == "xxx"


def test_variables_reach_the_template_but_replace_none_of_its_own() -> None:
    template = ChatTemplate(
        "{{ bos_token }}{{ messages[0].content }}{{ add_generation_prompt }}{{ level }}",
        bos="<s>",
        eos="",
    )
    assert template.render(USER) == "<s>HiTrue"
    replaced = {"level": 3, "messages": (), "bos_token": "x", "add_generation_prompt": False}
    assert template.render(USER, replaced) == "<s>HiTrue3"


def test_variables_reach_a_template_without_a_system_role_too() -> None:
    template = ChatTemplate(NO_SYSTEM + "{{ level }}", bos="", eos="")
    assert template.render(WITH_SYSTEM, {"level": 3}) == "<user>Be kind.\n\nHi3"


def test_limits_hold_for_what_variables_ask_for() -> None:
    template = ChatTemplate("{% for i in range(n) %}{{ 'x' * 1000 }}{% endfor %}", bos="", eos="")
    with pytest.raises(TemplateFailed, match="printed more than"):
        template.render(USER, {"n": 99999})


def test_a_template_names_the_variables_it_takes_and_the_texts_it_spells() -> None:
    source = (
        "{% set fixed = true %}{% set optional = optional | default('low') %}"
        "{% if not late is defined %}{% set late = 'high' %}{% endif %}"
        "{{ fixed }}{{ m.thinking }}{# comment #} prose {{ late }}"
    )
    template = ChatTemplate(source, bos="", eos="")
    assert template.variables == {"optional", "late", "m"}
    assert template.strings == {"low", "high"}
    assert template.source == source


def test_what_a_model_is_trained_on_is_rendered_like_the_rest() -> None:
    source = "{% generation %}a{% set y = 2 %}{{ y }}{% endgeneration %}{{ y }}"
    assert render(source) == "a22"
