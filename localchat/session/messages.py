"""From the messages of a conversation's path to those a model is sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from localchat.store.records import StoredMessage, Trim
from localchat.types import Message


class Sent(NamedTuple):
    """A message of a request, and the ids of the stored ones it is made of."""

    message: Message
    ids: tuple[int, ...]


def to_send(path: Sequence[StoredMessage], system: str | None = None) -> list[Sent]:
    """What a model is shown of a path; `system` as in `localchat.session.options.Options`.

    Replies that never got a word are left out. Templates insist on turns: what the user said
    before and after such a reply becomes one message.
    """
    sent: list[Sent] = []
    if system is not None:
        path = [stored for stored in path if stored.role != "system"]
    if system:
        sent.append(Sent(Message("system", system), ()))
    for stored in path:
        if stored.role == "assistant" and not stored.content:
            continue
        one = Sent(Message(stored.role, stored.content), (stored.id,))
        if stored.role == "user" and sent and sent[-1].message.role == "user":
            before = sent.pop()
            text = f"{before.message.content}\n\n{stored.content}"
            one = Sent(Message("user", text), (*before.ids, stored.id))
        sent.append(one)
    return sent


def trim_of(sent: Sequence[Sent], dropped: Sequence[int], summary: str | None) -> Trim:
    """What `localchat.events.Trimmed` says, by the ids of the stored messages."""
    return Trim(tuple(id_ for index in dropped for id_ in sent[index].ids), summary)


def dropped_of(sent: Sequence[Sent], trim: Trim) -> tuple[int, ...]:
    """The indexes of the messages that a `Trim` names."""
    ids = set(trim.dropped)
    return tuple(index for index, one in enumerate(sent) if ids.intersection(one.ids))
