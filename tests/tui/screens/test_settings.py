"""The settings panel: what is typed, what presets fill in, what comes out of it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input, Static, TextArea

from localchat.paths import Paths
from localchat.presets.folder import find, write_own
from localchat.registry import installed
from localchat.registry.care import imports
from localchat.tui.chats import options
from localchat.tui.chats.settings import ChatSettings, choose_preset
from localchat.tui.screens.settings import SettingsPanel
from localchat.tui.widgets.setting_row import Pick, SettingRow
from tests.conftest import Quiet
from tests.tui.screens.looking import seen, until

CHAT = ChatSettings("mine", sampling={"temperature": 0.3, "seed": 7})
OPEN = "a panel that is open"


class Panel(App[None]):
    """Opens the panel over an empty screen."""

    def __init__(self, places: Paths, chat: ChatSettings = CHAT, focus: str | None = None) -> None:
        super().__init__()
        self.places = places
        self.chat = chat
        self.first = focus
        self.chosen: ChatSettings | str | None = OPEN

    def on_mount(self) -> None:
        found = SettingsPanel(self.places, self.chat, self.first)
        self.push_screen(found, lambda chosen: setattr(self, "chosen", chosen))

    @property
    def is_open(self) -> bool:
        return self.chosen == OPEN

    def field(self, name: str) -> Input:
        return self.screen.query_one(f"#{name}", Input)

    def pick(self, name: str) -> Pick:
        return self.screen.query_one(f"#{name}", Pick)

    @property
    def system(self) -> str:
        return self.screen.query_one("#system", TextArea).text

    @property
    def meaning(self) -> str:
        return str(self.screen.query_one("#meaning", Static).content)

    @property
    def focused_on(self) -> str | None:
        return self.focused.id if self.focused is not None else None

    @property
    def wrong(self) -> list[str]:
        """The fields that are marked."""
        return [row.field.id or "" for row in self.screen.query(SettingRow) if row.wrong]


@pytest.fixture
def mine(places: Paths, tiny: Callable[..., Path]) -> str:
    imports.import_file(tiny(), places, way="copy", name="mine", projector=None, watcher=Quiet())
    return "mine"


async def ready(pilot: Pilot[None]) -> Panel:
    """Waits until everything that files say has come."""
    app = pilot.app
    assert isinstance(app, Panel)
    await until(pilot, lambda: app.screen.query("#meaning"))
    await until(pilot, lambda: app.meaning)
    return app


async def choose(pilot: Pilot[None], name: str, value: str) -> None:
    """Picks one of several, by its list."""
    app = pilot.app
    assert isinstance(app, Panel)
    pick = app.pick(name)
    pick.focus()
    await pilot.press("enter")
    await until(pilot, lambda: pick.expanded)
    await pilot.press(*value)
    await pilot.press("enter")
    await until(pilot, lambda: not pick.expanded)
    assert pick.value == value


async def type_into(pilot: Pilot[None], name: str, text: str) -> None:
    app = pilot.app
    assert isinstance(app, Panel)
    app.field(name).focus()
    await pilot.press(*["backspace"] * len(app.field(name).value), *text)


class TestValues:
    async def test_nothing_changed_is_what_there_was(self, places: Paths) -> None:
        chat = replace(
            CHAT,
            system=None,
            reasoning="off",
            overflow="refuse",
            preset="translate",
            parameters={"language": "Latin"},
        )
        async with Panel(places, chat).run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            assert app.field("parameter-language").value == "Latin"
            await pilot.press("ctrl+s")
            await until(pilot, lambda: not app.is_open)
            assert app.chosen == chat

    async def test_what_is_typed(self, places: Paths) -> None:
        async with Panel(places).run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            assert app.field("temperature").value == "0.3"
            await type_into(pilot, "temperature", "1.5")
            await type_into(pilot, "top_k", "7")
            await type_into(pilot, "max_tokens", "200")
            app.screen.query_one("#system").focus()
            await pilot.press(*"Be kind.", "enter", *"Be brief.")
            await choose(pilot, "reasoning", "off")
            await choose(pilot, "overflow", "summarise")
            await pilot.press("ctrl+s")
            await until(pilot, lambda: not app.is_open)
            assert app.chosen == ChatSettings(
                "mine",
                "Be kind.\nBe brief.",
                reasoning="off",
                sampling={"temperature": 1.5, "seed": 7, "top_k": 7, "max_tokens": 200},
                overflow="summarise",
            )

    async def test_an_empty_field_unsets_it(self, places: Paths) -> None:
        chat = replace(CHAT, system="Be kind.")
        async with Panel(places, chat, "temperature").run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            assert app.focused_on == "temperature"
            await pilot.press(*["backspace"] * 3)
            app.screen.query_one("#system").focus()
            await pilot.press("end", *["backspace"] * 8)
            await pilot.press("ctrl+s")
            await until(pilot, lambda: not app.is_open)
            assert app.chosen == replace(chat, system="", sampling={"seed": 7})

    async def test_enter_in_a_line_saves(self, places: Paths) -> None:
        async with Panel(places, CHAT, "top_p").run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            await pilot.press(*"0.5", "enter")
            await until(pilot, lambda: not app.is_open)
            assert isinstance(app.chosen, ChatSettings)
            assert app.chosen.sampling["top_p"] == 0.5

    async def test_esc_leaves_all_as_it_was(self, places: Paths) -> None:
        async with Panel(places, CHAT, "top_p").run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            await pilot.press(*"0.5", "escape")
            assert app.chosen is None

    async def test_esc_closes_a_list_first(self, places: Paths) -> None:
        async with Panel(places, CHAT, "reasoning").run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            await pilot.press("enter")
            await until(pilot, lambda: app.pick("reasoning").expanded)
            await pilot.press("escape")
            assert not app.pick("reasoning").expanded
            assert app.is_open


class TestBounds:
    async def test_what_is_wrong_is_said_while_one_types(self, places: Paths) -> None:
        async with Panel(places, CHAT, "temperature").run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            await pilot.press("end", "9")
            assert app.field("temperature").value == "0.39"
            assert app.wrong == []
            await pilot.press(*["backspace"] * 4, "9")
            assert app.meaning == "temperature must be a number from 0 to 5."
            assert app.wrong == ["temperature"]
            assert "! temperature" in seen(app)
            await pilot.press("tab")
            assert app.meaning.startswith("Keep the likeliest tokens")
            await pilot.press("ctrl+s")
            await until(pilot, lambda: app.focused_on == "temperature")
            assert app.is_open
            assert app.meaning == "temperature must be a number from 0 to 5."
            await pilot.press("backspace", "2")
            assert (app.wrong, app.meaning[:10]) == ([], "Randomness")
            await pilot.press("enter")
            await until(pilot, lambda: not app.is_open)
            assert app.chosen == replace(CHAT, sampling={"temperature": 2.0, "seed": 7})


class TestPlaceholders:
    async def test_the_models_own_values_where_nothing_is_set(
        self, places: Paths, mine: str
    ) -> None:
        record = installed.records(places)[0]
        own = replace(record, sampling=(("temperature", 0.9), ("top_k", 3)))
        installed.record(own, places)
        async with Panel(places).run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            assert app.field("temperature").placeholder == "unset: the model's own 0.9"
            assert app.field("top_k").placeholder == "unset: the model's own 3"
            assert app.field("top_p").placeholder == "unset: the model's own 0.95"
            assert app.field("max_tokens").placeholder == "unset: as many as the context holds"

    async def test_of_another_model(self, places: Paths, mine: str) -> None:
        record = installed.records(places)[0]
        installed.record(replace(record, sampling=(("top_k", 3),)), places)
        chat = replace(CHAT, model="other")
        async with Panel(places, chat).run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            assert app.field("top_k").placeholder == "unset: the model's own 40"
            await choose(pilot, "model", "mine")
            await until(pilot, lambda: app.field("top_k").placeholder.endswith(" 3"))
            await pilot.press("ctrl+s")
            await until(pilot, lambda: not app.is_open)
            assert app.chosen == CHAT


class TestPresets:
    async def test_it_fills_in_its_values(self, places: Paths) -> None:
        async with Panel(places).run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            await choose(pilot, "preset", "creative")
            await until(pilot, lambda: app.field("temperature").value == "1.1")
            assert app.field("top_k").value == "0"
            assert app.meaning.startswith("creative: Draws from all tokens")
            await type_into(pilot, "min_p", "0.2")
            await choose(pilot, "preset", "greedy")
            await until(pilot, lambda: app.field("temperature").value == "0.0")
            assert (app.field("top_k").value, app.field("min_p").value) == ("", "0.2")
            await pilot.press("ctrl+s")
            await until(pilot, lambda: not app.is_open)
            sampling = {"temperature": 0.0, "seed": 7, "min_p": 0.2}
            assert app.chosen == replace(CHAT, preset="greedy", sampling=sampling)

    async def test_its_parameters_are_asked_for(self, places: Paths) -> None:
        async with Panel(places).run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            await choose(pilot, "preset", "translate")
            await until(pilot, lambda: "into English." in app.system)
            assert app.field("parameter-language").placeholder == "English"
            await pilot.press("down")
            assert app.focused_on == "parameter-language"
            assert app.meaning == "What the preset's instructions say in this place."
            await pilot.press(*"Old Latin")
            await until(pilot, lambda: "into Old Latin." in app.system)
            await pilot.press("enter")
            await until(pilot, lambda: not app.is_open)
            assert isinstance(app.chosen, ChatSettings)
            assert app.chosen.parameters == {"language": "Old Latin"}
            assert app.chosen.system == find("translate", places).preset().instructions(
                {"language": "Old Latin"}
            )

    async def test_what_was_given_to_one_is_not_given_to_the_next(self, places: Paths) -> None:
        async with Panel(places).run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            await choose(pilot, "preset", "translate")
            await until(pilot, lambda: app.screen.query("#parameter-language"))
            await type_into(pilot, "parameter-language", "Latin")
            await until(pilot, lambda: "into Latin." in app.system)
            await choose(pilot, "preset", "summarise")
            await until(pilot, lambda: "at most 3 sentences" in app.system)
            assert app.wrong == []
            await pilot.press("ctrl+s")
            await until(pilot, lambda: not app.is_open)
            assert isinstance(app.chosen, ChatSettings)
            assert app.chosen.parameters == {}

    async def test_one_that_has_to_be_given(self, places: Paths) -> None:
        write_own("toned", b'system = "In {tone}."\nparameters = { tone = "" }', places)
        async with Panel(places).run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            await choose(pilot, "preset", "toned")
            await until(pilot, lambda: app.wrong == ["parameter-tone"])
            await pilot.press("ctrl+s")
            await until(pilot, lambda: app.focused_on == "parameter-tone")
            assert app.meaning == "The preset toned needs the parameter 'tone'."
            assert app.field("parameter-tone").placeholder == "has to be given"
            await pilot.press(*"jest", "enter")
            await until(pilot, lambda: not app.is_open)
            assert app.chosen == replace(
                CHAT, preset="toned", system="In jest.", parameters={"tone": "jest"}
            )

    async def test_none_takes_away_what_it_had_filled_in(self, places: Paths) -> None:
        async with Panel(places).run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            await choose(pilot, "preset", "translate")
            await until(pilot, lambda: app.system)
            app.pick("preset").value = ""
            await until(pilot, lambda: not app.system)
            assert not app.screen.query("#parameters SettingRow")
            await pilot.press("ctrl+s")
            await until(pilot, lambda: not app.is_open)
            assert app.chosen == replace(CHAT, sampling={"seed": 7})

    async def test_one_whose_file_is_broken(self, places: Paths) -> None:
        path = write_own("broken", b"system = 1", places)
        async with Panel(places).run_test(size=(120, 40)) as pilot:
            app = await ready(pilot)
            await choose(pilot, "preset", "broken")
            await until(pilot, lambda: app.wrong == ["preset"])
            assert app.meaning == f"{path} can't be used: 'system' must be a text, not 1."
            await choose(pilot, "preset", "greedy")
            await until(pilot, lambda: app.wrong == [])

    async def test_saving_waits_for_what_it_fills_in(
        self, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        go = threading.Event()

        def slow(*arguments: Any) -> ChatSettings:
            assert go.wait(30)
            return choose_preset(*arguments)

        monkeypatch.setattr("localchat.tui.screens.settings.choose_preset", slow)
        async with Panel(places).run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            await choose(pilot, "preset", "greedy")
            await pilot.press("ctrl+s")
            assert app.is_open
            await type_into(pilot, "top_k", "9")
            go.set()
            await until(pilot, lambda: not app.is_open)
            assert isinstance(app.chosen, ChatSettings)
            assert app.chosen.sampling == {"temperature": 0.0, "seed": 7, "top_k": 9}

    async def test_saving_waits_for_the_last_one(
        self, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        go = threading.Event()

        def slow(*arguments: Any) -> ChatSettings:
            assert go.wait(30)
            return choose_preset(*arguments)

        monkeypatch.setattr("localchat.tui.screens.settings.choose_preset", slow)
        async with Panel(places).run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            await choose(pilot, "preset", "greedy")
            await pilot.press("ctrl+s")
            app.pick("preset").value = "creative"
            await pilot.pause()
            assert app.is_open
            go.set()
            await until(pilot, lambda: not app.is_open)
            assert isinstance(app.chosen, ChatSettings)
            assert (app.chosen.preset, app.chosen.sampling["temperature"]) == ("creative", 1.1)

    async def test_a_model_of_its_own(self, places: Paths, mine: str) -> None:
        record = installed.records(places)[0]
        installed.record(replace(record, sampling=(("top_k", 3),)), places)
        write_own("own", b"model = 'mine'\nreasoning = 'on'", places)
        async with Panel(places, replace(CHAT, model="zebra")).run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            assert app.field("top_k").placeholder.endswith(" 40")
            await choose(pilot, "preset", "own")
            await until(pilot, lambda: app.pick("model").value == "mine")
            await until(pilot, lambda: app.field("top_k").placeholder.endswith(" 3"))
            assert app.pick("reasoning").value == "on"
            await pilot.press("ctrl+s")
            await until(pilot, lambda: not app.is_open)
            assert app.chosen == replace(CHAT, preset="own", reasoning="on")


class TestLooks:
    async def test_each_setting_says_what_it_means(self, places: Paths) -> None:
        async with Panel(places).run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            met: dict[str | None, str] = {}
            while app.focused_on not in met:
                met[app.focused_on] = app.meaning
                await pilot.press("tab")
            assert list(met) == [
                "preset", "system", "model", "reasoning", "temperature", "top_p", "top_k", "min_p",
                "repeat_penalty", "frequency_penalty", "presence_penalty", "max_tokens", "overflow",
            ]  # fmt: skip
            assert all(met.values())
            assert len(set(met.values())) == len(met)
            assert set(met) <= set(options.meanings())

    async def test_the_arrows_go_through_it(self, places: Paths) -> None:
        async with Panel(places, CHAT, "model").run_test(size=(60, 20)) as pilot:
            app = await ready(pilot)
            for name in ("reasoning", "temperature", "top_p"):
                await pilot.press("down")
                assert app.focused_on == name
            await pilot.press("up")
            assert app.focused_on == "temperature"

    async def test_small(self, places: Paths) -> None:
        async with Panel(places).run_test(size=(60, 20)) as pilot:
            app = await ready(pilot)
            lines = seen(app).splitlines()
            assert len(lines) == 20
            assert lines[0] == "  Settings of this chat"
            assert lines[1].split()[:2] == ["preset", "none"]
            assert lines[-1] == "  ↑↓ move   ctrl+s save   esc leave it as it was"

    @pytest.mark.parametrize("size", [(1, 1), (12, 4), (30, 10), (200, 60)])
    async def test_any_size(self, places: Paths, size: tuple[int, int]) -> None:
        async with Panel(places).run_test(size=size) as pilot:
            app = await ready(pilot)
            await pilot.press("tab", "tab", "9")
            await pilot.resize_terminal(60, 20)
            await pilot.resize_terminal(*size)
            await pilot.press("escape")
            assert app.chosen is None

    async def test_text_from_outside_is_harmless(self, places: Paths) -> None:
        write_own("bad", b'description = "[red]x\\u001b[2J\\u202e"', places)
        chat = replace(CHAT, model="[b]m\x1b[2Jn", preset="p\x1b[31m[u]")
        async with Panel(places, chat).run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            shown = seen(app)
            assert "[b]m[2Jn" in shown
            assert "p[31m[u]" in shown
            await pilot.press("enter")
            await until(pilot, lambda: app.pick("preset").expanded)
            await until(pilot, lambda: "bad · [red]x[2J" in seen(app))
            assert "\x1b" not in seen(app)
            await pilot.press("escape")
            await choose(pilot, "preset", "bad")
            await until(pilot, lambda: app.meaning.startswith("bad: "))
            assert app.meaning == "bad: [red]x[2J."

    async def test_a_setting_that_is_none_begins_with_the_first(self, places: Paths) -> None:
        async with Panel(places, CHAT, "colour").run_test(size=(100, 40)) as pilot:
            app = await ready(pilot)
            assert app.focused_on == "preset"
