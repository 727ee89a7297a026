"""What the transcript tells the screen: the reader's wishes."""

from __future__ import annotations

from dataclasses import dataclass

from textual.message import Message


@dataclass
class EditAsked(Message):
    """To write another message, or another reply, in place of this one."""

    message_id: int


@dataclass
class RegenerateAsked(Message):
    """To have this reply made once more, beside it."""

    message_id: int


@dataclass
class ContinueAsked(Message):
    """To have this reply go on where it ends."""

    message_id: int


@dataclass
class SiblingAsked(Message):
    """To show this message in place of one beside it."""

    message_id: int


@dataclass
class DeleteAsked(Message):
    """To delete this message and all that follow it."""

    message_id: int


@dataclass
class BranchAsked(Message):
    """To go on from this message in another branch."""

    message_id: int


@dataclass
class CopyAsked(Message):
    """To put text into the clipboard."""

    text: str
    what: str
    """What it is, as in "Copied the message."."""


@dataclass
class LinkChosen(Message):
    """A link was clicked; nothing is opened by itself."""

    url: str
