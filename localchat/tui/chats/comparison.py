"""One prompt that two settings answer at once: their replies lie beside each other in the tree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from localchat.errors import UsageError
from localchat.session.session import Events, Session
from localchat.tui.chats.chat import Chat
from localchat.tui.chats.run import News, Run
from localchat.tui.chats.settings import ChatSettings

Side = Literal["left", "right"]


class Comparison:
    """The left side is the chat's own next reply, the right one is made with other settings."""

    def __init__(self, chat: Chat, other: ChatSettings, tell: Callable[[Side, News], None]) -> None:
        """`tell` is called in the threads of the replies, for the right side only."""
        self.chat = chat
        self.other = other
        self.right: Run | None = None
        self._tell = tell

    @property
    def left(self) -> Run | None:
        return self.chat.run

    @property
    def is_busy(self) -> bool:
        return self.chat.is_busy

    def ask(self, text: str) -> None:
        """Begins the left reply; the right one begins when the prompt is stored, see `join`."""
        self.chat.send(text)

    def join(self) -> None:
        """Begins the right reply, when the left one has begun."""
        left = self.left
        assert left is not None
        assert left.session is not None
        turn = left.session.turn
        assert turn is not None

        def begin(session: Session) -> Events:
            events = session.regenerate(turn.reply)  # which stays if nothing comes of this one
            self.chat.show_sibling(turn.reply)
            return events

        self.right = self.chat.answer_beside(
            self.other, begin, lambda news: self._tell("right", news)
        )

    def keep(self, side: Side) -> None:
        """Goes on with one reply, and its settings; the other stays as a branch.

        Waits for the disk; raises what the store raises, UsageError if there is no such reply.
        """
        run = self.left if side == "left" else self.right
        if run is None or run.live is None:
            raise UsageError(f"There is no reply on the {side}.")
        self.chat.show_sibling(run.live.reply)
        if side == "right":
            self.chat.change(self.other)
            if run.engine is not None:
                self.chat.know(run.engine)
