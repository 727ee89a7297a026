"""What of a command is kept in the history, and which conversation it goes on with."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from localchat.cli import output
from localchat.errors import ConversationNotFound, LocalchatError
from localchat.paths import Paths
from localchat.session.ephemeral import Ephemeral
from localchat.store.records import Conversation

if TYPE_CHECKING:
    from localchat.session.session import Turns
    from localchat.store.store import Store


_CUT = ("length", "cancelled")  # finish reasons of replies that the model did not end itself


class History:
    """The history as one command needs it: at most opened once, while the engine is looked for."""

    def __init__(self, places: Paths, *, keeps: bool) -> None:
        self.keeps = keeps
        """Whether anything of the command may stay on disk."""
        self._places = places
        self._store: Store | None = None
        self._error: Exception | None = None
        self._opening: threading.Thread | None = None

    def __enter__(self) -> History:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._opening is not None:
            self._opening.join()
        if self._store is None:
            return
        with self._store as store:
            if kind is None and self.keeps and store.is_check_due:  # after the answer, once a day
                _check(store)

    def find(self, id_: str | None) -> Conversation:
        """The conversation whose id begins so, or the last one. Raises what opening raises, too."""
        from localchat.store import aside

        history = self._places.history
        if not history.exists() and not aside.is_unfinished(history):
            raise _nothing_yet()
        self._open()
        if self._error is not None:
            raise self._error
        assert self._store is not None
        found = self._store.latest() if id_ is None else self._store.find(id_)
        if found is None:
            raise _nothing_yet()
        return found

    def is_cut_off(self, conversation: Conversation) -> bool:
        """Whether the last reply ended before the model ended it."""
        assert self._store is not None
        last = self._store.path(conversation.id)[-1:]
        return any(
            one.role == "assistant"
            and (
                one.state in ("incomplete", "failed")
                or (one.generations and one.generations[-1].finish_reason in _CUT)
            )
            for one in last
        )

    def begin_opening(self) -> None:
        """Opens it beside what the caller does meanwhile."""
        if self.keeps and self._store is None:
            self._opening = threading.Thread(target=self._open, daemon=True)
            self._opening.start()

    def turns(self, conversation: Conversation | None) -> Turns:
        """Where turns are to be stored. In memory, if none are to be kept, or if they can't be.

        Raises why they can't be, if there is a conversation to go on with.
        """
        if self._opening is not None:
            self._opening.join()
        if self._store is not None:
            for note in self._store.notes:
                output.note(f"Note: {note}")
        if self._store is not None and self.keeps:
            return self._store
        if self._store is not None and conversation is not None:
            return Ephemeral(self._store.path(conversation.id))
        if isinstance(self._error, LocalchatError):
            not_kept(self._error)
        elif self._error is not None:
            raise self._error
        return Ephemeral()

    def _open(self) -> None:
        # 10 ms, which a command that keeps nothing need not pay.
        from localchat.store.store import Store

        try:
            self._store = Store.open(self._places)
        except Exception as error:  # told by whoever waits for the thread
            self._error = error


def _check(store: Store) -> None:
    """The answer is there: what is found now is told, and is no failure of the command."""
    told = len(store.notes)
    try:
        store.check()
    except LocalchatError as error:
        output.note(f"Note: {error}")
    for note in store.notes[told:]:
        output.note(f"Note: {note}")


def not_kept(why: LocalchatError) -> None:
    """An answer is worth more than its record; but nothing is lost without a word."""
    output.note(f"Note: this is not kept in the history: {why}")
    if why.hint:
        output.note(f"Try: {why.hint}")


def _nothing_yet() -> ConversationNotFound:
    return ConversationNotFound(
        "There is no conversation to go on with.", 'Begin one: localchat "Why is the sky blue?"'
    )
