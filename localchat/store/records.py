"""The values that go into the store and come out of it. Only those that were stored have ids.

A conversation is a tree of messages: an edit is a sibling of the message it replaces, a further
reply a sibling of the first. One of the leaves is current; the path from the root to it is what is
shown, and what the model sees.

They are named tuples, whose annotations are no strings: to make as many dataclasses takes 6 ms of
each command's start.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from localchat.types import FinishReason, Role, Timings, Usage

State = Literal["complete", "generating", "incomplete", "failed"]
"""Of a message. generating: a process is writing it now. incomplete: what was there when the
process died, or when the reply was stopped. failed: the engine gave an error in place of a reply.
"""
Ending = Literal["complete", "incomplete", "failed"]

_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Provenance(NamedTuple):
    """What a reply is made with: all it takes, together with the seed, to make it again."""

    model: str
    """As the user calls it."""
    model_sha256: str | None = None
    template_sha256: str | None = None
    """Of the chat template's source."""
    engine_build: str | None = None
    params: Mapping[str, Any] = _NOTHING
    """Sampling parameters and other options, as JSON values."""


class Trim(NamedTuple):
    """What of the path the model did not see."""

    dropped: tuple[int, ...]
    """Ids of messages."""
    summary: str | None = None
    """What stood in their place."""


class Outcome(NamedTuple):
    """How a reply ended, and what is known of it only then."""

    state: Ending
    finish_reason: FinishReason | None = None
    seed: int | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    trim: Trim | None = None
    error: str | None = None
    """The sentence that a failed reply was answered with."""


class Generation(NamedTuple):
    """One run of the engine on a reply: the first one, or one that continued it."""

    provenance: Provenance
    content_from: int = 0
    """Characters of the content that were there before it."""
    reasoning_from: int = 0
    """Characters of the reasoning that were there before it."""
    finish_reason: FinishReason | None = None
    seed: int | None = None
    usage: Usage | None = None
    timings: Timings | None = None
    trim: Trim | None = None
    error: str | None = None


class StoredMessage(NamedTuple):
    """One message of a conversation's tree."""

    id: int
    """Never given to another message, also after this one is deleted; greater than its parent's."""
    conversation: str
    parent: int | None
    """None for a root: the system prompt, or the first message where there is none."""
    role: Role
    content: str
    reasoning: str
    created: float
    """Seconds since the epoch."""
    state: State
    generations: tuple[Generation, ...] = ()
    """Of a reply, in the order they ran. Of an imported reply there may be none."""


class Conversation(NamedTuple):
    """A conversation without its messages."""

    id: str
    """16 hexadecimal digits."""
    title: str
    title_is_own: bool
    """Whether the user gave it, rather than its first message."""
    created: float
    """Seconds since the epoch."""
    updated: float
    """When its last turn began or ended, seconds since the epoch."""
    leaf: int | None
    """Id of the message that its current path ends with; None if it has no messages."""
    settings: Mapping[str, Any]
    """What further turns are to be made with (model, preset, parameters), as JSON values."""
    source: str | None = None
    """Where an imported one comes from, such as another program's id: it is imported once."""


class Listed(NamedTuple):
    """A line in a list of conversations."""

    conversation: Conversation
    short_id: str
    """The beginning of its id that no other one has, four digits at least."""
    messages: int
    """Of all branches, without system prompts."""


class Turn(NamedTuple):
    """The ids of what a turn has put into the store."""

    conversation: str
    user: int
    """The message that is answered."""
    reply: int
    """The reply that is now generating."""


class NewMessage(NamedTuple):
    """A message to be imported."""

    role: Role
    content: str
    parent: int | None = None
    """Its parent's place among the messages of the import, before its own; None: a root."""
    reasoning: str = ""
    created: float | None = None
    """Seconds since the epoch; None: when the conversation was created."""
    state: Ending = "complete"
    generations: tuple[Generation, ...] = ()
    """Ids in a `Trim` are places among the messages of the import."""


class NewConversation(NamedTuple):
    """A conversation to be imported, with all its branches."""

    messages: tuple[NewMessage, ...]
    id: str | None = None
    """Kept if no other conversation has it, as when it was exported from here."""
    title: str | None = None
    """None: made from the first message."""
    title_is_own: bool = False
    created: float | None = None
    """Seconds since the epoch; None: now."""
    updated: float | None = None
    leaf: int | None = None
    """Place of the current leaf among the messages; None: the last message."""
    settings: Mapping[str, Any] = _NOTHING
    source: str | None = None
    """See `Conversation`."""


class Hit(NamedTuple):
    """A message that a search found, or a conversation by the title that the user gave it."""

    conversation: Conversation
    short_id: str
    message: int | None
    """Its id; None: the title was found."""
    role: Role | None
    created: float
    """When the message, or the conversation, was created, seconds since the epoch."""
    snippet: str
    """The part of the message with the words, on one line; or the title."""
    marks: tuple[tuple[int, int], ...]
    """Where in `snippet` the words are: from, to."""


class Stats(NamedTuple):
    """How much there is."""

    conversations: int
    messages: int
    completion_tokens: int
    """Generated here, as far as known."""
    size: int
    """Bytes on disk, with what is not yet merged into the file."""
    oldest: float | None
    """When the oldest conversation was created, seconds since the epoch."""
    newest: float | None
    """When a conversation was last updated."""
    damaged: tuple[str, ...]
    """Paths of damaged files that were moved aside: conversations that are deleted stay there."""
