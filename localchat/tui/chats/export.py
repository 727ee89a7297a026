"""Writes the conversation on the screen to a file of the user's."""

from __future__ import annotations

import itertools
import json
import re
import time
from pathlib import Path

from localchat.errors import UsageError
from localchat.sanitize import clean, escape
from localchat.store.formats.whole_file import written_whole
from localchat.store.records import Conversation
from localchat.tui.chats.chat import Chat

_LONGEST = 40  # characters of a file name that is made from a title


def write(chat: Chat, target: Path | None) -> Path:
    """Where it was written: Markdown, or with the suffix .json what OpenAI's messages look like.

    Without a `target`, a new file in the current folder. Never replaces a file. Raises UsageError,
    OSError.
    """
    if not chat.messages:
        raise UsageError("There is nothing to write yet.")
    target = _unused(chat.title) if target is None else target
    if target.exists():
        raise UsageError(f"There is a file {target} already.", "/export another-name.md")
    with written_whole(target) as file:
        file.write(_json(chat) if target.suffix.lower() == ".json" else _markdown(chat))
    return target


def _markdown(chat: Chat) -> str:
    from localchat.store.formats.markdown import to_markdown

    now = time.time()
    conversation = chat.conversation or Conversation("", chat.title, False, now, now, None, {})
    return clean(to_markdown(conversation, chat.messages))


def _json(chat: Chat) -> str:
    from localchat.store.formats.openai import to_json

    return escape(json.dumps(to_json(chat.messages), ensure_ascii=False, indent=2)) + "\n"


def _unused(title: str) -> Path:
    """A file of the current folder that there is not."""
    words = re.sub(r"[^\w]+", "-", title.lower()).strip("-")[:_LONGEST].strip("-") or "chat"
    names = itertools.chain([words], (f"{words}-{number}" for number in itertools.count(2)))
    return next(path for name in names if not (path := Path(f"{name}.md")).exists())
