from __future__ import annotations

from pathlib import Path

import pytest

from localchat.paths import Paths
from tests.tui.conftest import Opened


async def test_set_holds_from_the_next_turn_and_for_good(stage: Opened) -> None:
    async with stage() as at:
        await at.take_turn("One")
        await at.say("/set temperature 0.2")
        await at.until(lambda: at.chat.settings.sampling.get("temperature") == 0.2)
        await at.take_turn("Two")
        assert at.client.requests[-1].params.temperature == 0.2
        conversation = at.chat.id or ""
        await at.say("/new")
        await at.until(lambda: not at.chat.messages)
        assert "temperature" not in at.chat.settings.sampling
        await at.main.open(conversation)
        assert at.chat.settings.sampling["temperature"] == 0.2


async def test_system_stands_at_the_beginning_of_a_new_chat(stage: Opened) -> None:
    async with stage() as at:
        await at.say("/system Answer in rhymes")
        await at.until(lambda: at.chat.settings.system == "Answer in rhymes")
        await at.take_turn("Hello")
        sent = at.client.requests[-1].messages
        assert [one.role for one in sent] == ["system", "user"]
        assert sent[0].content == "Answer in rhymes"


async def test_system_may_change_in_the_middle(stage: Opened) -> None:
    async with stage() as at:
        await at.say("/system Answer in rhymes")
        await at.until(lambda: at.chat.settings.system == "Answer in rhymes")
        await at.take_turn("Hello")
        await at.say("/system Answer in prose")
        await at.until(lambda: at.chat.settings.system == "Answer in prose")
        await at.take_turn("Again")
        assert at.client.requests[-1].messages[0].content == "Answer in prose"
        conversation = at.chat.id or ""
        await at.say("/new")
        await at.until(lambda: not at.chat.messages)
        await at.main.open(conversation)
        await at.take_turn("Once more")
        assert at.client.requests[-1].messages[0].content == "Answer in prose"


async def test_a_preset_brings_instructions_and_values(stage: Opened) -> None:
    async with stage() as at:
        await at.say("/preset translate language=German")
        await at.until(lambda: at.chat.settings.preset == "translate")
        await at.take_turn("Good morning")
        assert "German" in at.client.requests[-1].messages[0].content


async def test_think_switches_reasoning(stage: Opened) -> None:
    async with stage() as at:
        await at.say("/think off")
        await at.until(lambda: at.chat.settings.reasoning == "off")
        await at.take_turn("Hello")
        assert at.client.requests[-1].reasoning == "off"


async def test_another_model_goes_on_with_the_conversation(
    stage: Opened, tiny: object, tmp_path: Path
) -> None:
    assert callable(tiny)
    other = tiny("llama")
    async with stage() as at:
        await at.take_turn("One")
        await at.say(f"/model {other}")
        await at.until(
            lambda: at.chat.settings.model == str(other) and not at.main.is_loading_model
        )
        at.clients[1].give("Two.")
        at.clients[1].finish()
        await at.say("Two?")
        await at.until(lambda: len(at.chat.messages) == 4 and not at.chat.is_busy)
        assert [one.content for one in at.clients[1].requests[-1].messages] == [
            "One",
            "Yes.",
            "Two?",
        ]


async def test_a_file_goes_before_the_prompt(stage: Opened, tmp_path: Path) -> None:
    note = tmp_path / "note.txt"
    note.write_text("The meeting is at nine.\n")
    async with stage() as at:
        await at.say(f"/file {note}")
        await at.until(lambda: "note.txt" in at.shown)
        await at.take_turn("When is it?")
        asked = at.client.requests[-1].messages[-1].content
        assert "The meeting is at nine." in asked
        assert asked.endswith("When is it?")


async def test_the_settings_panel_changes_the_chat(stage: Opened, places: Paths) -> None:
    from localchat.tui.screens.settings import SettingsPanel

    async with stage() as at:
        await at.pilot.press("f2")
        await at.until(lambda: isinstance(at.app.screen, SettingsPanel))
        await at.pilot.press("escape")
        await at.until(lambda: at.app.screen is at.main)
        await at.say("/settings")
        await at.until(lambda: isinstance(at.app.screen, SettingsPanel))


@pytest.mark.parametrize("key", ["ctrl+o"])
async def test_the_picker_opens_and_closes(stage: Opened, key: str) -> None:
    from localchat.tui.screens.models import ModelPicker

    async with stage() as at:
        await at.pilot.press(key)
        await at.until(lambda: isinstance(at.app.screen, ModelPicker))
        await at.pilot.press("escape")
        await at.until(lambda: at.app.screen is at.main)
