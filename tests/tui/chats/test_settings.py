"""What a conversation is made with: where it comes from, how it is kept and changed."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import pytest

from localchat.config import Settings
from localchat.errors import ConfigError, UsageError
from localchat.paths import Paths
from localchat.presets.folder import find, write_own
from localchat.session.lasting import LASTING, resumed
from localchat.tui.chats.bounds import NUMBERS
from localchat.tui.chats.settings import (
    NAMES,
    ChatSettings,
    choose_preset,
    configured,
    of_conversation,
    parse_setting,
    to_json,
)
from localchat.types import ModelRef

CHAT = ChatSettings("m", sampling={"temperature": 0.3})
FULL = ChatSettings(
    "m",
    "Be brief.",
    "summarise",
    {"sentences": "2"},
    "off",
    {"temperature": 0.2, "top_k": 5, "max_tokens": 100, "seed": 7, "stop": ("a", "b")},
    "refuse",
)


def kept(chat: ChatSettings) -> Any:
    return json.loads(json.dumps(to_json(chat), allow_nan=False))


class TestConfigured:
    def test_without_anything(self, places: Paths) -> None:
        assert configured(Settings(), places) == ChatSettings(Settings().model)

    def test_settings_and_flags(self, places: Paths) -> None:
        settings = Settings(model="a", temperature=0.5, max_tokens=9, overflow="refuse")
        found = configured(settings, places, {"model": "b", "reasoning": "on"})
        sampling = {"temperature": 0.5, "max_tokens": 9}
        assert found == ChatSettings("b", reasoning="on", sampling=sampling, overflow="refuse")

    def test_a_preset_of_the_settings_or_of_a_flag(self, places: Paths) -> None:
        assert configured(Settings(preset="greedy"), places).preset == "greedy"
        flags, given = {"preset": "translate"}, {"language": "Latin"}
        found = configured(Settings(preset="greedy"), places, flags, given)
        assert (found.preset, found.parameters) == ("translate", given)
        assert "into Latin." in (found.system or "")
        with pytest.raises(ConfigError, match=r"^The setting 'preset' can't be 'wild'"):
            configured(Settings(preset="wild"), places)

    def test_the_models_own_values_hold_where_nothing_is_said(self) -> None:
        model = ModelRef("m", "/m.gguf", sampling=(("temperature", 0.9), ("top_k", 7)))
        params = CHAT.params(model)
        assert (params.temperature, params.top_k, params.top_p) == (0.3, 7, 0.95)


class TestKept:
    @pytest.mark.parametrize("chat", [CHAT, FULL, replace(FULL, system="")])
    def test_it_comes_back_as_it_was(self, chat: ChatSettings, places: Paths) -> None:
        settings = Settings(
            model="other", temperature=2.0, max_tokens=5, preset="creative", overflow="summarise"
        )
        assert of_conversation(kept(chat), settings, places) == chat

    def test_the_command_line_goes_on_with_the_same_values(self, places: Paths) -> None:
        settings = resumed(Settings(preset="creative", top_p=0.5), kept(FULL))
        assert (settings.model, settings.reasoning, settings.preset) == ("m", "off", None)
        assert (settings.temperature, settings.top_k, settings.top_p) == (0.2, 5, None)

    def test_what_the_command_line_kept(self, places: Paths) -> None:
        stored = {"model": "x", "reasoning": "on", "sampling": {"top_k": 3}}
        found = of_conversation(stored, Settings(max_tokens=5), places, "It began so.")
        sampling = {"top_k": 3, "max_tokens": 5}
        assert found == ChatSettings("x", "It began so.", reasoning="on", sampling=sampling)

    def test_one_that_was_imported_is_as_the_configuration_has_it(self, places: Paths) -> None:
        settings = Settings(preset="translate", temperature=0.5)
        found = of_conversation({}, settings, places)
        assert (found.system, found.preset) == (None, "translate")
        assert found.sampling == {"temperature": 0.5}

    @pytest.mark.parametrize(
        "stored",
        [
            {"sampling": {"temperature": 99, "top_k": True, "min_p": "x", "top_p": float("nan")}},
            {"sampling": {"max_tokens": 0, "seed": -1, "stop": [1], "other": 1}},
            {"sampling": {"seed": True, "stop": "abc"}},
            {"sampling": {}, "system": 1, "preset": ["x"], "parameters": {"a": "b"}},
            {"sampling": {}, "preset": None, "parameters": "x"},
            {"sampling": {}, "overflow": "burn", "reasoning": "maybe", "model": 7},
        ],
    )
    def test_what_makes_no_sense_is_left_out(self, stored: Any, places: Paths) -> None:
        assert of_conversation(stored, Settings(), places) == ChatSettings(Settings().model)

    def test_parameters_that_are_no_texts(self, places: Paths) -> None:
        stored = {"sampling": {}, "preset": "p", "parameters": {"a": 1, "b": "x"}}
        assert of_conversation(stored, Settings(), places).parameters == {"b": "x"}


class TestPresets:
    def test_its_values_take_the_place_of_those_before(self, places: Paths) -> None:
        chat = replace(CHAT, sampling={"temperature": 0.5, "repeat_penalty": 1.1})
        creative = choose_preset(chat, "creative", {}, places)
        assert creative.sampling == {**find("creative", places).preset().sampling,
                                     "repeat_penalty": 1.1}  # fmt: skip
        greedy = choose_preset(creative, "greedy", {}, places)
        assert greedy.sampling == {"temperature": 0.0, "repeat_penalty": 1.1}
        assert choose_preset(greedy, None, {}, places).sampling == {"repeat_penalty": 1.1}

    def test_what_was_changed_since_stays(self, places: Paths) -> None:
        creative = choose_preset(CHAT, "creative", {}, places)
        changed = parse_setting(creative, "min_p", "0.3")
        assert choose_preset(changed, "greedy", {}, places).sampling == {
            "temperature": 0.0,
            "min_p": 0.3,
        }

    def test_instructions_go_with_the_preset_that_gave_them(self, places: Paths) -> None:
        german = choose_preset(CHAT, "translate", {"language": "German"}, places)
        assert "into German." in (german.system or "")
        assert choose_preset(german, "creative", {}, places).system is None
        mine = replace(german, system="Mine.")
        assert choose_preset(mine, "creative", {}, places).system == "Mine."
        assert choose_preset(mine, "proofread", {}, places).system == (
            find("proofread", places).preset().system
        )

    def test_model_and_reasoning(self, places: Paths) -> None:
        write_own("own", b"model = 'big'\nreasoning = 'on'", places)
        found = choose_preset(CHAT, "own", {}, places)
        assert (found.model, found.reasoning, found.preset) == ("big", "on", "own")
        again = choose_preset(found, "greedy", {}, places)
        assert (again.model, again.reasoning) == ("big", "on")

    def test_one_that_is_gone(self, places: Paths) -> None:
        path = write_own("own", b"[sampling]\ntop_k = 3", places)
        chat = choose_preset(CHAT, "own", {}, places)
        path.unlink()
        found = choose_preset(chat, "greedy", {}, places)
        assert found.sampling == {"temperature": 0.0, "top_k": 3}
        with pytest.raises(UsageError, match="There is no preset 'own'"):
            choose_preset(chat, "own", {}, places)

    def test_what_is_wrong_with_it_is_said(self, places: Paths) -> None:
        write_own("needs", b'system = "In {tone}."\nparameters = { tone = "" }', places)
        write_own("broken", b"system = 1", places)
        with pytest.raises(UsageError, match="needs the parameter 'tone'"):
            choose_preset(CHAT, "needs", {}, places)
        with pytest.raises(UsageError, match="has no parameter 'colour'"):
            choose_preset(CHAT, "translate", {"colour": "red"}, places)
        with pytest.raises(ConfigError, match="can't be used: 'system'"):
            choose_preset(CHAT, "broken", {}, places)


class TestParse:
    @pytest.mark.parametrize(
        ("name", "text", "value"),
        [
            ("temperature", "0.2", 0.2),
            ("Temperature ", " 0 ", 0.0),
            ("temperature", "5", 5.0),
            ("top_p", "1", 1.0),
            ("top_k", "0", 0),
            ("min_p", "1e-3", 0.001),
            ("repeat_penalty", "1.1", 1.1),
            ("frequency_penalty", "-2", -2.0),
            ("max_tokens", "1", 1),
        ],
    )
    def test_a_number(self, name: str, text: str, value: float) -> None:
        found = parse_setting(FULL, name, text)
        assert found == replace(FULL, sampling={**FULL.sampling, name.strip().lower(): value})
        assert type(found.sampling[name.strip().lower()]) is type(value)

    @pytest.mark.parametrize(
        ("name", "text", "sentence"),
        [
            ("temperature", "5.1", "temperature must be a number from 0 to 5."),
            ("temperature", "-0.1", "temperature must be a number from 0 to 5."),
            ("temperature", "nan", "temperature must be a number from 0 to 5."),
            ("temperature", "hot", "temperature must be a number from 0 to 5."),
            ("top_p", "0", "top_p must be a number above 0 and at most 1."),
            ("top_p", "1.01", "top_p must be a number above 0 and at most 1."),
            ("top_k", "-1", "top_k must be a whole number, 0 or more."),
            ("top_k", "1.5", "top_k must be a whole number, 0 or more."),
            ("top_k", "9" * 5000, "top_k must be a whole number, 0 or more."),
            ("top_k", "9" * 400, "top_k must be a whole number, 0 or more."),
            ("repeat_penalty", "0", "repeat_penalty must be a number above 0."),
            ("repeat_penalty", "inf", "repeat_penalty must be a number above 0."),
            ("presence_penalty", "3", "presence_penalty must be a number from -2 to 2."),
            ("max_tokens", "0", "max_tokens must be a whole number, 1 or more."),
            ("reasoning", "maybe", "reasoning must be auto, on or off."),
            ("overflow", "burn", "overflow must be drop, summarise or refuse."),
            ("model", "", "model must be the name of a model."),
            (
                "temprature",
                "1",
                "There is no setting 'temprature'; perhaps 'temperature' is meant.",
            ),
            ("preset", "x", "A preset sets several values at once."),
        ],
    )
    def test_what_is_refused(self, name: str, text: str, sentence: str) -> None:
        with pytest.raises(UsageError) as caught:
            parse_setting(CHAT, name, text)
        assert str(caught.value) == sentence
        assert caught.value.hint is not None
        assert caught.value.hint.startswith("/")

    @pytest.mark.parametrize("text", ["", "default", "Unset"])
    def test_unset(self, text: str) -> None:
        assert parse_setting(CHAT, "temperature", text).sampling == {}
        assert parse_setting(CHAT, "top_k", text) == CHAT
        assert parse_setting(FULL, "system", text).system is None
        assert parse_setting(FULL, "reasoning", text).reasoning == "auto"
        assert parse_setting(FULL, "overflow", text).overflow == "drop"

    def test_words(self) -> None:
        assert parse_setting(CHAT, "reasoning", "ON").reasoning == "on"
        assert parse_setting(CHAT, "overflow", "refuse").overflow == "refuse"
        assert parse_setting(CHAT, "model", "qwen3-4b").model == "qwen3-4b"
        assert parse_setting(CHAT, "system", "Be kind.").system == "Be kind."


def test_the_numbers_are_those_that_a_conversation_keeps() -> None:
    assert set(NUMBERS) == {*LASTING, "max_tokens"}
    assert set(NUMBERS) < set(NAMES)


def test_neither_textual_nor_pydantic_is_imported() -> None:
    code = (
        "import sys\nfrom localchat import config, paths\n"
        "from localchat.tui.chats import settings\n"
        "settings.configured(config.Settings(preset='creative'), paths.find())\n"
        "print(*sorted({'textual', 'pydantic', 'huggingface_hub'} & set(sys.modules)))"
    )
    run = [sys.executable, "-P", "-c", code]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert done.stdout == "\n"
