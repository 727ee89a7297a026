"""How parts of a screen tell the user what was done, and what could not be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from textual.message import Message
from textual.widget import Widget

from localchat.errors import LocalchatError


@dataclass
class Told(Message):
    """Something that needs no answer."""

    sentence: str


@dataclass
class Failed(Message):
    """Something that was asked for could not be done."""

    error: LocalchatError


class Telling(Widget):
    """A part that tells; may be used in any thread."""

    def say(self, sentence: str) -> None:
        self.post_message(Told(sentence))

    def complain(self, error: LocalchatError) -> None:
        self.post_message(Failed(error))

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Tells what goes wrong."""
        try:
            yield
        except LocalchatError as error:
            self.complain(error)
        except OSError as error:
            self.complain(LocalchatError(f"The system refused: {error}."))
