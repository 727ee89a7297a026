"""How conversations and messages are named, dated and shown as JSON, in all commands alike."""

from __future__ import annotations

import time
from typing import Any

from localchat.cli.history.tree_of import Tree
from localchat.store.formats.own import message_to_json
from localchat.store.records import Conversation, StoredMessage

VOICES = {"system": "System", "user": "You", "assistant": "Assistant"}
_LONGEST_MODEL = 32  # characters


def model_of(conversation: Conversation) -> str | None:
    """The model that it goes on with, if it says so."""
    model = conversation.settings.get("model")
    return model if isinstance(model, str) else None


def short_model(conversation: Conversation) -> str:
    """Of a path, the end."""
    model = model_of(conversation) or ""
    return model if len(model) <= _LONGEST_MODEL else f"…{model[1 - _LONGEST_MODEL :]}"


def when(seconds: float, form: str = "%Y-%m-%d %H:%M") -> str:
    """The local time; a question mark for one that no calendar has."""
    try:
        return time.strftime(form, time.localtime(seconds))
    except (OverflowError, ValueError, OSError):
        return "?"


def count(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"


def size(number: int) -> str:
    return f"{number / 1e6:,.1f} MB"


def voice(message: StoredMessage, tree: Tree) -> str:
    """Who says it, its number, and what is out of the ordinary."""
    said = f"{VOICES[message.role]} #{message.id}"
    if message.generations:
        said += f" · {message.generations[-1].provenance.model}"
    marks = [mark for mark in (tree.branch(message), _state(message)) if mark]
    return f"{said} ({', '.join(marks)})" if marks else said


def _state(message: StoredMessage) -> str:
    if message.state == "failed" and message.generations and message.generations[-1].error:
        return f"failed: {message.generations[-1].error}"
    words = {"complete": "", "generating": "being written"}
    return words.get(message.state, message.state)


def conversation_json(conversation: Conversation, short_id: str) -> dict[str, Any]:
    return {
        "id": conversation.id,
        "short_id": short_id,
        "title": conversation.title,
        "model": model_of(conversation),
        "created": conversation.created,
        "updated": conversation.updated,
        "source": conversation.source,
    }


def message_json(message: StoredMessage, tree: Tree) -> dict[str, Any]:
    """Messages are named by their ids."""
    place, branches = tree.place(message)
    told = message_to_json(message, {id_: id_ for id_ in tree.messages})
    return (
        {"id": message.id} | told | {"state": message.state, "branch": place, "branches": branches}
    )
