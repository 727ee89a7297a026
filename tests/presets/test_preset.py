"""What a preset's file may say."""

from __future__ import annotations

import pytest

from localchat.errors import ConfigError, UsageError
from localchat.presets.preset import Preset, parse
from localchat.types import SamplingParams

WHOLE = """
description = "Everything  a preset\\n may say"
system = '''
 Answer in {language}, as {"a": 1}, {other} or {language}.
'''
model = "small"
reasoning = "off"

[parameters]
language = "English"

[sampling]
temperature = 1
top_p = 0.5
top_k = 0
min_p = 0
repeat_penalty = 1.1
frequency_penalty = -2
presence_penalty = 2.0
seed = 4_294_967_295
max_tokens = 1
stop = ["\\n\\n", "END"]
"""


def read(text: str) -> Preset:
    return parse("mine", text.encode(), "/mine.toml")


def test_all_that_may_be_said_is_heard() -> None:
    found = read(WHOLE)
    assert found.description == "Everything a preset may say"
    assert (found.model, found.reasoning) == ("small", "off")
    params = SamplingParams(**found.sampling)
    assert params == SamplingParams(
        repeat_penalty=1.1,
        frequency_penalty=-2.0,
        presence_penalty=2.0,
        top_k=0,
        top_p=0.5,
        min_p=0.0,
        temperature=1.0,
        seed=2**32 - 1,
        max_tokens=1,
        stop=("\n\n", "END"),
    )
    assert isinstance(params.temperature, float)


def test_only_its_parameters_are_filled_in() -> None:
    rest = 'as {"a": 1}, {other} or'
    assert read(WHOLE).instructions({}) == f"Answer in English, {rest} English."
    given = {"language": "{language} \\1"}
    filled = f"Answer in {{language}} \\1, {rest} {{language}} \\1."
    assert read(WHOLE).instructions(given) == filled


def test_a_parameter_without_a_default_must_be_given() -> None:
    preset = read('system = "In {tone}."\nparameters = { tone = "" }')
    with pytest.raises(UsageError, match=r"^The preset mine needs the parameter 'tone'\.$"):
        preset.instructions({})
    assert preset.instructions({"tone": "rhyme"}) == "In rhyme."


def test_an_unknown_parameter_is_refused() -> None:
    with pytest.raises(UsageError, match="no parameter 'langauge'; perhaps 'language' is"):
        read(WHOLE).instructions({"langauge": "German"})


def test_a_file_that_says_nothing_sets_nothing() -> None:
    assert read("# nothing") == Preset("mine")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("sistem = 'x'", "there is no setting 'sistem'; perhaps 'system' is meant"),
        ("qqq = 1", "there is no setting 'qqq'"),
        ("temperature = 1", "'temperature' belongs under [sampling]"),
        ("system = 1", "'system' must be a text, not 1"),
        ("model = ' '", "'model' names no model"),
        ("reasoning = 'perhaps'", "'reasoning' must be one of auto, on, off, not 'perhaps'"),
        ("reasoning = []", "'reasoning' must be one of auto, on, off, not []"),
        ("sampling = 1", "'sampling' must be a table: [sampling]"),
        ("[sampling]\ntemp = 1", "there is no sampling value 'temp'"),
        ("[sampling]\nn = 2", "there is no sampling value 'n'"),
        (
            "[sampling]\ntemperature = 5.1",
            "'temperature' must be a number, at least 0 and at most 5, not 5.1",
        ),
        ("[sampling]\ntemperature = nan", "not nan"),
        ("[sampling]\ntemperature = true", "not True"),
        ("[sampling]\ntemperature = '1'", "not '1'"),
        ("[sampling]\ntop_p = 0", "'top_p' must be a number, above 0 and at most 1, not 0"),
        ("[sampling]\nrepeat_penalty = inf", "'repeat_penalty' must be a number, above 0, not"),
        (f"[sampling]\nrepeat_penalty = 1{'0' * 400}", "'repeat_penalty' must be a number"),
        ("[sampling]\ntop_k = 4.0", "'top_k' must be a whole number, at least 0, not 4.0"),
        ("[sampling]\nmax_tokens = 0", "'max_tokens' must be a whole number, at least 1"),
        ("[sampling]\nseed = 4294967296", "'seed' must be a whole number, at least 0 and at"),
        ("[sampling]\nstop = 'x'", "'stop' must be a list of texts, not 'x'"),
        ("[sampling]\nstop = ['']", "'stop' must be a list of texts, not ['']"),
        ("[sampling]\nstop = [1]", "'stop' must be a list of texts, not [1]"),
        ("[parameters]\nA = 'x'", "'A' can't be a parameter"),
        ("[parameters]\na = 1", "'a' must be a text, not 1"),
        ("[parameters]\na = 'x'", "its 'system' says nothing about {a}, a parameter"),
    ],
)
def test_what_is_wrong_is_said(text: str, fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert str(caught.value).startswith("/mine.toml can't be used: ")
    assert fault in str(caught.value)
    assert caught.value.hint == "localchat presets edit mine"


@pytest.mark.parametrize("data", [b"system =", b"system = '\xff'", b"a = 1" + b"0" * 5000])
def test_what_is_no_toml_is_said(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"^/mine.toml is not valid TOML: .+\.$"):
        parse("mine", data, "/mine.toml")
