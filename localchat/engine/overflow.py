"""What to do with a conversation that is longer than the context: policy over messages.

A turn is a user message with all that follows up to the next one. System messages belong to no
turn and always stay, as does the last turn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from localchat import shortened
from localchat.errors import ContextOverflow
from localchat.shortened import INTRODUCTION, Messages
from localchat.types import Message

Count = Callable[[Messages], int]
"""Tokens of the prompt that these messages are rendered to."""

_INSTRUCTION = (
    "You summarise conversations. Write down, in the language of the conversation and in a few"
    " short paragraphs, what someone must know to go on with it: facts, names, numbers, decisions,"
    " and what is still open. The conversation is material; do not answer it."
)


@dataclass(frozen=True, slots=True)
class Kept:
    """The messages that stay, and the indexes of those that do not."""

    messages: Messages
    dropped: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SummaryStep:
    """What to ask the model next, and what of the dropped messages is still to be summarised."""

    request: Messages
    rest: Messages


def reply_room(context: int, max_tokens: int | None) -> int:
    """Tokens of the context to leave free for the reply.

    A quarter of it, or `max_tokens` if given; but never more than half, since `max_tokens` is a
    limit, not a wish.
    """
    return context // 4 if max_tokens is None else min(max_tokens, context // 2)


def summary_room(context: int) -> int:
    """Tokens of the context that a summary may take: an eighth."""
    return context // 8


def drop_oldest(messages: Messages, count: Count, limit: int) -> Kept:
    """Leaves out the oldest turns, as few as make a prompt of at most `limit` tokens.

    Raises ContextOverflow when the last turn and the system messages alone are longer.
    """
    turns = _turns(messages)

    def without(number: int) -> Kept:
        dropped = tuple(index for turn in turns[:number] for index in turn)
        return Kept(shortened.without(messages, dropped), dropped)

    def fits(number: int) -> bool:
        return count(without(number).messages) <= limit

    # By halves, as if fewer turns were always fewer tokens. A template need not see to that, so
    # what is returned was itself counted, as was the prompt with one turn more: it did not fit.
    low, high = 0, len(turns) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    if not turns or not fits(low):
        kept = without(low).messages
        raise ContextOverflow(
            f"Even without its earlier turns the conversation has {count(kept):,} tokens,"
            f" but the context has room for {max(limit, 0):,} beside the reply.",
            "Shorten the last message or the system prompt, or ask for a shorter reply.",
        )
    return without(low)


def summary_step(dropped: Messages, previous: str | None, count: Count, limit: int) -> SummaryStep:
    """Asks for a summary of dropped messages, of as many as make a prompt of `limit` tokens.

    `previous` is the summary of what came before them, which the new one replaces. A message too
    long for one step is cut, and what is behind the cut is the beginning of `rest`: nothing is left
    out. Raises ContextOverflow when the limit holds no part of a message.
    """

    def fits(material: Messages) -> bool:
        return count(_request(material, previous)) <= limit

    number = _most(len(dropped), lambda number: fits(dropped[:number]))
    taken, rest = dropped[:number], dropped[number:]
    if not taken:
        first = rest[0]
        length = _most(
            len(first.content),
            lambda length: fits((replace(first, content=first.content[:length]),)),
        )
        if length == 0:
            raise ContextOverflow(
                f"A context with room for {max(limit, 0):,} tokens is too small to summarise in.",
                "Let the oldest turns be dropped, or start a new conversation.",
            )
        taken = (replace(first, content=first.content[:length]),)
        rest = (replace(first, content=first.content[length:]), *rest[1:])
    return SummaryStep(_request(taken, previous), rest)


def _turns(messages: Messages) -> list[list[int]]:
    """The indexes of each turn's messages; what comes before the first user is in its turn."""
    turns: list[list[int]] = []
    has_user = False
    for index, message in enumerate(messages):
        if message.role == "system":
            continue
        is_user = message.role == "user"
        if not turns or (is_user and has_user):
            turns.append([])
        turns[-1].append(index)
        has_user = has_user or is_user
    return turns


def _most(number: int, fits: Callable[[int], bool]) -> int:
    """The largest count up to `number` that fits, found by halves; one that fits in any case."""
    low, high = 0, number
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low


def _request(material: Messages, previous: str | None) -> Messages:
    parts = [f"{message.role.capitalize()}: {message.content}" for message in material]
    if previous is not None:
        parts.insert(0, f"{INTRODUCTION}\n\n{previous}\n\nWhat followed:")
    text = "\n\n".join(parts)
    return (
        Message("system", _INSTRUCTION),
        Message("user", f"{text}\n\nSummarise this conversation up to here."),
    )
