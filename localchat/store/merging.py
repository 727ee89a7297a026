"""Taking conversations in from a file: nothing twice, and nothing that is here is changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from localchat.errors import ConversationNotFound
from localchat.store.formats.reading import Unread
from localchat.store.records import Conversation, NewConversation, NewMessage, StoredMessage
from localchat.store.store import Store
from localchat.store.turns import text

# Conversations, and characters, that are written together: others wait meanwhile.
_MOST = 200
_MOST_TEXT = 4_000_000


class Taken(NamedTuple):
    """What became of one conversation."""

    id: str | None
    """The one it got; None: it is here already."""


def take_in(store: Store, found: Iterable[NewConversation | Unread]) -> Iterator[Taken | Unread]:
    """Adds what is not here yet, some at a time; what became of each, in order.

    Raises what `Store.add` raises; what was told of before that is here.
    """
    waiting: list[NewConversation | Taken | Unread] = []
    size, names = 0, set[str | None]()
    for one in found:
        if isinstance(one, NewConversation):
            own = {one.id, one.source} - {None}
            if own & names or size >= _MOST_TEXT or len(waiting) >= _MOST:
                yield from _add(store, waiting)
                waiting, size, names = [], 0, set()
            names |= own
            size += sum(len(message.content) for message in one.messages)
            waiting.append(_unknown(store, one) or Taken(None))
        else:
            waiting.append(one)
    yield from _add(store, waiting)


def _add(
    store: Store, waiting: Sequence[NewConversation | Taken | Unread]
) -> Iterator[Taken | Unread]:
    new = [one for one in waiting if isinstance(one, NewConversation)]
    added = iter(store.add(new) if new else [])
    for one in waiting:
        yield Taken(next(added)) if isinstance(one, NewConversation) else one


def _unknown(store: Store, new: NewConversation) -> NewConversation | None:
    """As what it is to be added; None if all of it is here.

    One that has gone on, elsewhere or here in another way, is a second conversation.
    """
    here = _same(store, new)
    if here is None:
        return new
    if _has_all(store.tree(here.id), new.messages):
        return None
    said = [(one.parent, one.role, one.content, one.created) for one in new.messages]
    digest = hashlib.sha256(json.dumps(said).encode()).hexdigest()
    return new._replace(id=None, source=f"{new.source or here.id}:{digest}")


def _same(store: Store, new: NewConversation) -> Conversation | None:
    """The conversation here that it is an earlier or a later state of."""
    try:
        if new.id is not None:
            return store.conversation(new.id)
    except ConversationNotFound:
        pass
    return None if new.source is None else store.imported(text(new.source))


def _has_all(here: Sequence[StoredMessage], new: Sequence[NewMessage]) -> bool:
    """Whether each message is here, below the same ones: perhaps with more of its text by now."""
    known: dict[tuple[int | None, str, float | None], list[StoredMessage]] = {}
    for stored in here:
        for created in (stored.created, None):
            known.setdefault((stored.parent, stored.role, created), []).append(stored)
    ids: list[int] = []
    used: set[int] = set()  # several may be alike in all of that
    for message in new:
        parent = None if message.parent is None else ids[message.parent]
        same = next(
            (
                stored
                for stored in known.get((parent, message.role, message.created), ())
                if stored.id not in used and stored.content.startswith(text(message.content))
            ),
            None,
        )
        if same is None:
            return False
        ids.append(same.id)
        used.add(same.id)
    return True
