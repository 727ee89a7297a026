"""All keys of the chat screen, as they are and as the user's config.toml has them."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from textual.binding import Binding
from textual.keys import KEY_ALIASES, Keys

from localchat.errors import ConfigError

_MODIFIERS = ("ctrl", "shift", "alt", "meta", "super", "hyper")
_KNOWN = {key.value for key in Keys} | set(KEY_ALIASES) | {"minus", "plus", "slash", "comma"}


class Action(NamedTuple):
    """Something that a key does."""

    id: str
    """As it is called in config.toml."""
    meaning: str
    keys: tuple[str, ...]


class Group(NamedTuple):
    """The keys that work in one part of the screen."""

    title: str
    actions: tuple[Action, ...]


def groups(own: Mapping[str, str]) -> tuple[Group, ...]:
    """All keys in force; `own` are the user's, by the id of what they do."""
    # Whatever has keys; all of it is on the screen already when somebody asks.
    from localchat.tui.app import ChatApp
    from localchat.tui.screens.history_pane import HistoryPane
    from localchat.tui.screens.main import MainScreen
    from localchat.tui.widgets.prompt.area import PromptArea
    from localchat.tui.widgets.sidebar.sidebar import Sidebar
    from localchat.tui.widgets.transcript.transcript import Transcript

    parts: dict[str, tuple[Any, ...]] = {
        "Everywhere": (MainScreen, ChatApp),
        "In the prompt": (PromptArea,),
        "In the transcript": (Transcript,),
        "In the list of conversations": (Sidebar, HistoryPane),
    }
    return tuple(
        Group(title, tuple(action for part in of for action in _actions(part.BINDINGS, own)))
        for title, of in parts.items()
    )


def check(own: Mapping[str, str]) -> dict[str, str]:
    """`own` as a keymap. Raises ConfigError, which names what can't be used."""
    known = [action.id for group in groups({}) for action in group.actions]
    keymap = {}
    for id_, text in own.items():
        if id_ not in known:
            near = difflib.get_close_matches(id_, known, n=1)
            raise ConfigError(
                f"The setting 'keys' has an unknown action {id_!r}"
                + (f"; did you mean {near[0]!r}?" if near else "."),
                "F1 on the chat screen shows them all.",
            )
        keys = [_plain(key.strip()) for key in text.split(",")]
        for key in keys:
            if not _is_key(key):
                raise ConfigError(
                    f"The setting 'keys' can't give {id_} the key {key!r}.",
                    "Keys look like f5, ctrl+k or alt+enter; a comma separates two.",
                )
        keymap[id_] = ",".join(keys)
    return keymap


def _actions(bindings: list[Any], own: Mapping[str, str]) -> list[Action]:
    found: dict[str, Action] = {}
    for binding in Binding.make_bindings(bindings):
        if binding.id is None:
            continue
        given = own.get(binding.id)
        keys = given.split(",") if given else _keys_of(binding.id, bindings)
        found[binding.id] = Action(binding.id, binding.description, tuple(keys))
    return list(found.values())


def _keys_of(id_: str, bindings: list[Any]) -> list[str]:
    return [one.key for one in Binding.make_bindings(bindings) if one.id == id_]


def _plain(key: str) -> str:
    """As Textual has it; a letter alone may be a capital one."""
    return key if len(key) == 1 else key.lower()


def _is_key(key: str) -> bool:
    *modifiers, last = key.split("+")
    is_named = last in _KNOWN or re.fullmatch(r"f\d\d?", last) is not None
    return all(one in _MODIFIERS for one in modifiers) and (len(last) == 1 or is_named)
