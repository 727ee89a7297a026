"""The store: every conversation of the user, and all that can be done with them.

A turn, as a session takes it:

    with Store.open(paths) as store:
        turn = store.start_turn(None, "Why is the sky blue?", provenance=provenance)
        ...                                      # the engine is asked only now
        store.checkpoint(turn.reply, text, reasoning)          # at least every 2 s
        store.finish(turn.reply, text, reasoning, Outcome("complete", ...))

Each method is one short transaction. What a method has written is on the disk when it returns,
whatever happens to the process or the power then. A reply whose process died is "incomplete".
A `Store` may be shared by threads; several, in several processes, share the file.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import apsw

from localchat.paths import Paths
from localchat.store import aside, branches, rows, turns
from localchat.store.connection import SIDE_FILES, empty_log, give_back_room
from localchat.store.database import Database
from localchat.store.records import (
    Conversation,
    Hit,
    Listed,
    NewConversation,
    Outcome,
    Provenance,
    Stats,
    StoredMessage,
    Turn,
)
from localchat.store.turns import Parent
from localchat.store.writers import Writers

_CHECK_BUDGET = 0.005  # seconds


class Store:
    """Every method raises HistoryFailed, OutOfSpace or ConversationNotFound where they apply, and
    those that write HistoryReadOnly if a newer localchat has written the history.
    """

    @classmethod
    def open(cls, paths: Paths, *, check_budget: float = _CHECK_BUDGET) -> Store:
        """The user's history, made if it is missing, recovered if it is damaged: see `notes`.

        `check_budget` is how many seconds the check for damage may take; see `check` for the rest.
        """
        return cls(Database(paths.history, check_budget), paths.history)

    def __init__(self, database: Database, path: Path) -> None:
        self._database = database
        self._path = path
        self._writers = Writers(path.with_suffix(".writers"))
        self._has_settled = False

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Replies that were not finished are incomplete from now on. May be called again.

        Threads that come later get HistoryFailed.
        """
        self._database.close()
        self._writers.close()

    @property
    def notes(self) -> Sequence[str]:
        """What the user must be told, a sentence each: damage that was found, and what was done."""
        return tuple(self._database.notes)

    @property
    def is_read_only(self) -> bool:
        """Whether a newer localchat has written the history: it can be read, not added to."""
        return self._database.is_read_only

    # turns

    def start_turn(
        self,
        conversation: str | None,
        content: str,
        *,
        provenance: Provenance,
        parent: Parent = "leaf",
        system: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Turn:
        """Stores what the user said and begins the reply to it, which becomes the current leaf.

        `conversation` is a whole id; None begins a new one, with `settings` and the `system`
        prompt. The message goes below `parent`: "leaf" is where the conversation is, "root" begins
        it anew (with `system`, if given), and the parent of another message edits that one. Give
        the id of the path's last message for a turn that surely follows what the model is shown,
        also if another process adds one meanwhile: then they are two branches.
        """
        now = time.time()

        def work(connection: apsw.Connection) -> Turn:
            if conversation is None:
                id_ = turns.new_conversation(connection, content, settings, now)
                above = None
            else:
                id_ = conversation
                above = turns.place(connection, conversation, parent)
            if system is not None and above is None:
                above = turns.new_message(connection, id_, None, "system", system, now)
            user = turns.new_message(connection, id_, above, "user", content, now)
            reply = turns.new_reply(connection, (id_, user), provenance, self._writers.own(), now)
            return Turn(id_, user, reply)

        return self._write_turn(work)

    def regenerate(self, message: int, provenance: Provenance) -> Turn:
        """Begins another reply beside the reply `message`, or below it if the user said it.

        It becomes the current leaf.
        """
        now = time.time()

        return self._write_turn(
            lambda connection: turns.regenerate(
                connection, message, provenance, self._writers.own(), self._writers.is_alive, now
            )
        )

    def continue_reply(self, reply: int, provenance: Provenance) -> Turn:
        """Makes a reply go on that was cut off: `checkpoint` and `finish` take the whole of it.

        Raises ReplyInProgress if a process still writes it, UsageError if it isn't the last
        message of its branch.
        """
        now = time.time()

        def work(connection: apsw.Connection) -> Turn:
            found = rows.message(connection, reply, self._writers.is_alive)
            turns.resume(connection, found, provenance, self._writers.own(), now)
            assert found.parent is not None
            return Turn(found.conversation, found.parent, found.id)

        return self._write_turn(work)

    def checkpoint(self, reply: int, content: str, reasoning: str = "") -> None:
        """Stores how far a reply of this `Store` is: the whole of it so far.

        Raises ConversationNotFound if it was deleted meanwhile.
        """
        self._database.write(
            lambda connection: turns.checkpoint(
                connection, reply, self._writers.own(), content, reasoning
            )
        )

    def finish(self, reply: int, content: str, reasoning: str, outcome: Outcome) -> None:
        """Stores a reply of this `Store` for good.

        Raises ConversationNotFound if it was deleted meanwhile.
        """
        now = time.time()
        self._database.write(
            lambda connection: turns.finish(
                connection, reply, self._writers.own(), (content, reasoning), outcome, now
            )
        )

    def _write_turn(self, work: Any) -> Turn:
        """Also tells, once, what killed processes left unfinished."""

        def settled(connection: apsw.Connection) -> Turn:
            if not self._has_settled:
                turns.settle(connection, self._writers.is_alive)
            found: Turn = work(connection)
            return found

        turn = self._database.write(settled)
        self._has_settled = True
        return turn

    # one conversation

    def conversation(self, id_: str) -> Conversation:
        """The conversation with this whole id."""
        return self._database.read(lambda connection: rows.conversation(connection, id_))

    def find(self, prefix: str) -> Conversation:
        """The one conversation whose id begins with `prefix`. Raises AmbiguousId."""
        return self._database.read(lambda connection: rows.find(connection, prefix))

    def short_id(self, id_: str) -> str:
        """The beginning of the id that no other conversation has, four digits at least."""
        return self._database.read(lambda connection: rows.short_id(connection, id_))

    def path(self, conversation: str, leaf: int | None = None) -> list[StoredMessage]:
        """The messages from the root to `leaf`, or to the current leaf."""

        def work(connection: apsw.Connection) -> list[StoredMessage]:
            end = rows.conversation(connection, conversation).leaf
            if leaf is not None:
                end = turns.place(connection, conversation, leaf)
            return rows.path(connection, end, self._writers.is_alive)

        return self._database.read(work)

    def tree(self, conversation: str) -> list[StoredMessage]:
        """All messages of all branches, oldest first: parents come before their children."""

        def work(connection: apsw.Connection) -> list[StoredMessage]:
            rows.conversation(connection, conversation)
            return rows.tree(connection, conversation, self._writers.is_alive)

        return self._database.read(work)

    def message(self, id_: int) -> StoredMessage:
        """One message."""
        return self._database.read(
            lambda connection: rows.message(connection, id_, self._writers.is_alive)
        )

    def siblings(self, message: int) -> list[StoredMessage]:
        """The alternatives at this place, the message itself among them, oldest first."""
        return self._database.read(
            lambda connection: rows.siblings(connection, message, self._writers.is_alive)
        )

    def alternatives(self, conversation: str) -> dict[int, tuple[int, ...]]:
        """Of each message of the current path that has siblings, the ids of all, oldest first."""
        return self._database.read(
            lambda connection: branches.alternatives(connection, conversation)
        )

    def set_leaf(self, message: int) -> int:
        """Makes the branch through `message` the current one; the leaf, its newest message."""
        return self._database.write(
            lambda connection: branches.choose(connection, message, self._writers.is_alive)
        )

    def go_back(self, conversation: str, message: int | None) -> None:
        """Ends the current path with `message`, which `set_leaf` would follow to a leaf.

        None: before the first message; a system prompt stays. What followed stays, as a branch.
        """
        self._database.write(
            lambda connection: branches.go_back(
                connection, conversation, message, self._writers.is_alive
            )
        )

    def delete_message(self, message: int) -> None:
        """Deletes a message for good, with all that comes after it: see `delete`.

        If the current path goes through it, that becomes the one through its newest sibling, or
        ends above it. Raises ReplyInProgress if a process writes one of them.
        """
        self._delete(
            lambda connection: branches.delete(connection, message, self._writers.is_alive)
        )

    def rename(self, conversation: str, title: str | None) -> Conversation:
        """Gives it a title of the user's, on one line; None: the one from its first message."""

        def work(connection: apsw.Connection) -> Conversation:
            turns.rename(connection, conversation, title)
            return rows.conversation(connection, conversation)

        return self._database.write(work)

    def set_settings(self, conversation: str, settings: Mapping[str, Any]) -> None:
        """Replaces what further turns are to be made with."""

        def work(connection: apsw.Connection) -> None:
            rows.conversation(connection, conversation)
            turns.set_settings(connection, conversation, settings)

        self._database.write(work)

    # many conversations

    def latest(self) -> Conversation | None:
        """The one that was updated last."""
        return self._database.read(rows.latest)

    def imported(self, source: str) -> Conversation | None:
        """The one that was imported from there, see `Conversation.source`."""
        return self._database.read(lambda connection: rows.imported(connection, source))

    def newest(self, limit: int = 20, after: Conversation | None = None) -> list[Listed]:
        """The conversations that were updated last, or those that follow `after` in that order."""
        place = (after.updated, after.id) if after else None
        return self._database.read(lambda connection: rows.newest(connection, limit, place))

    def prompts(self, limit: int) -> list[str]:
        """What the user has said last, in any conversation, oldest first."""
        return self._database.read(lambda connection: rows.prompts(connection, limit))

    def search(self, query: str, limit: int = 20, *, is_complete: bool = True) -> list[Hit]:
        """Messages with all the words and "phrases" of `query`, the best first.

        If the query is not complete, as while it is typed, its last word may go on.
        """
        from localchat.store import search  # 2 ms, most of them for its patterns

        return self._database.read(
            lambda connection: search.search(connection, query, limit, is_complete=is_complete)
        )

    def add(self, conversations: Iterable[NewConversation]) -> list[str | None]:
        """Imports conversations in one transaction: their ids, None for those already there.

        Give a few hundred at a time: others can't write meanwhile. Raises InputError for one whose
        messages don't make a tree; nothing is then imported.
        """
        from localchat.store import importing

        now = time.time()
        read = list(conversations)  # an error in reading them is none of the history's
        return self._database.write(
            lambda connection: [importing.add(connection, new, now) for new in read]
        )

    def delete(self, conversations: Iterable[str]) -> int:
        """Deletes conversations for good: their words are overwritten on the disk. How many."""
        ids = list(conversations)
        return self._delete(lambda connection: turns.delete(connection, ids))

    def purge(self, before: float) -> int:
        """Deletes the conversations last updated before then (seconds since the epoch), and gives
        the room back. How many."""
        deleted = self._delete(lambda connection: turns.delete_before(connection, before))
        self._database.exclusively(give_back_room)
        return deleted

    def _delete(self, work: Any) -> int:
        deleted: int = self._database.write(work)
        if deleted:
            self._database.exclusively(empty_log)
        return deleted

    # the file

    def stats(self) -> Stats:
        """How much there is."""
        counts = self._database.read(rows.counts)
        size = 0
        for name in ("", *SIDE_FILES[:1]):
            with contextlib.suppress(FileNotFoundError):
                size += os.stat(f"{self._path}{name}").st_size  # noqa: PTH116
        damaged = tuple(map(str, aside.kept(self._path)))
        conversations, messages, tokens, oldest, newest = counts
        return Stats(conversations, messages, tokens, size, oldest, newest, damaged)

    @property
    def is_check_due(self) -> bool:
        """Whether `check` was last done more than a day ago."""
        return self._database.is_check_due

    def check(self) -> None:
        """Checks the whole file for damage: half a second for 100,000 messages. See `notes`."""
        self._database.check()
