from __future__ import annotations

import pytest

from localchat.tui.widgets.prompt import hints
from localchat.tui.widgets.prompt.hints import fitting, key_name, keys_by_id


@pytest.mark.parametrize(
    ("key", "name"),
    [("enter", "Enter"), ("ctrl+j", "Ctrl+J"), ("shift+enter", "Shift+Enter"), ("f4", "F4")],
)
def test_names_of_keys(key: str, name: str) -> None:
    assert key_name(key) == name


def test_a_key_that_every_terminal_can_tell_is_named() -> None:
    bound = [("shift+enter", "new"), ("ctrl+j", "new"), ("alt+enter", "new"), ("x", None)]
    assert keys_by_id(bound) == {"new": "Ctrl+J"}


@pytest.mark.parametrize(
    ("cells", "line"),
    [
        (80, "Enter sends · Ctrl+J new line · / commands · @ files"),
        (52, "Enter sends · Ctrl+J new line · / commands · @ files"),
        (51, "Enter sends · Ctrl+J new line · / commands"),
        (12, "Enter sends"),
        (0, ""),
    ],
)
def test_as_many_hints_as_there_is_room_for(cells: int, line: str) -> None:
    keys = {"prompt.send": "Enter", "prompt.newline": "Ctrl+J"}
    assert fitting(hints.EMPTY, keys, cells) == line


def test_without_a_key_there_is_no_hint() -> None:
    assert fitting(hints.WRITING, {"prompt.send": "Enter"}, 80) == "Enter sends"
