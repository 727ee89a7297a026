from __future__ import annotations

import pytest

from localchat.config import Settings
from localchat.errors import ConfigError
from localchat.tui.keys import check, groups
from tests.tui.conftest import Opened


def test_every_key_has_one_name_and_a_meaning() -> None:
    actions = [action for group in groups({}) for action in group.actions]
    assert len({action.id for action in actions}) == len(actions) > 40
    for action in actions:
        assert action.id.count(".") == 1
        assert action.meaning[0].isupper()
        assert action.keys
        assert all(action.keys)


def test_keys_of_the_user_are_shown_in_the_place_of_ours() -> None:
    def keys(own: dict[str, str]) -> dict[str, tuple[str, ...]]:
        return {action.id: action.keys for group in groups(own) for action in group.actions}

    ours = keys({})
    assert ours["transcript.copy"] == ("c", "y")
    theirs = keys({"transcript.copy": "f5,ctrl+k"})
    assert theirs["transcript.copy"] == ("f5", "ctrl+k")
    del ours["transcript.copy"], theirs["transcript.copy"]
    assert theirs == ours


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("f9", "f9"),
        ("F12", "f12"),
        ("Ctrl+K", "ctrl+k"),
        ("ctrl+shift+up", "ctrl+shift+up"),
        ("alt+enter, f5", "alt+enter,f5"),
        ("g", "g"),
        ("G", "G"),
        ("?", "?"),
        ("comma", "comma"),
        ("ctrl+[", "ctrl+["),
    ],
)
def test_what_can_be_a_key(text: str, keys: str) -> None:
    assert check({"chat.new": text}) == {"chat.new": keys}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "''"),
        ("f5,", "''"),
        ("ctrl+", "'ctrl+'"),
        ("ctrl", "'ctrl'"),
        ("contrl+k", "'contrl+k'"),
        ("f5 f6", "'f5 f6'"),
        ("f100", "'f100'"),
        ("ctrl+k,florp", "'florp'"),
    ],
)
def test_what_can_not(text: str, named: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check({"chat.new": text})
    assert str(caught.value) == f"The setting 'keys' can't give chat.new the key {named}."
    assert caught.value.hint


def test_an_action_that_there_is_not() -> None:
    with pytest.raises(ConfigError, match=r"unknown action 'chat.nwe'; did you mean 'chat.new'\?"):
        check({"chat.nwe": "f9"})
    with pytest.raises(ConfigError, match=r"unknown action 'xyzzy'\."):
        check({"xyzzy": "f9"})


@pytest.mark.parametrize(("text", "key"), [("Y", "Y"), ("?", "question_mark")])
async def test_it_works(stage: Opened, text: str, key: str) -> None:
    async with stage(settings=Settings(keys={"transcript.copy": text})) as at:
        await at.take_turn("Hello", "Good day.")
        at.main.chat_pane.transcript.focus()
        await at.pilot.press("y", "c")  # ours, which it is no more
        assert at.app.clipboard == ""
        await at.pilot.press(key)
        await at.until(lambda: at.app.clipboard == "Good day.")
