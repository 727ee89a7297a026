from __future__ import annotations

import pytest

from localchat.tui.key_names import key_name
from localchat.tui.keys import groups


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("ctrl+j", "Ctrl+J"),
        ("ctrl+shift+up", "Ctrl+Shift+Up"),
        ("shift+enter", "Shift+Enter"),
        ("escape", "Esc"),
        ("pageup", "PgUp"),
        ("f1", "F1"),
        ("f12", "F12"),
        ("g", "g"),
        ("G", "G"),
        ("alt+g", "Alt+G"),
        ("left_square_bracket", "["),
        ("slash", "/"),
        ("ctrl+slash", "Ctrl+/"),
        ("question_mark", "?"),
        ("space", "Space"),
        ("delete", "Del"),
    ],
)
def test_as_users_know_them(key: str, name: str) -> None:
    assert key_name(key) == name


def test_no_key_of_ours_is_shown_by_a_name_of_the_toolkit() -> None:
    for group in groups({}):
        for action in group.actions:
            for key in action.keys:
                assert "_" not in key_name(key)
