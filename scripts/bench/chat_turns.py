"""Does a chat slow down as it grows? See README.md beside this file."""

from __future__ import annotations

import itertools
import random
import statistics
import sys
from collections import Counter

from common import Report, Setup, engine, parser, prepare
from streams import Reply, ask
from texts import count_tokens, fixed_length

from localchat.client.base import EngineClient
from localchat.types import GenerationRequest, Message

_TURNS, _REPLY = 20, 40
_GOAL = 1.3
_TOPICS = (
    "rain wind snow ice sand gold iron salt milk bread fish birds cats dogs trees grass "
    "rivers lakes stars planets maps ships trains roads bridges towers glass paper music "
    "dance games books letters clocks doors chairs tables shoes hats coats"
)


def main() -> None:
    arguments = parser("the first token of each turn of a chat", rounds=5).parse_args()
    with prepare(arguments) as setup, engine(setup) as client:
        report = Report("chat_turns", setup)
        questions = _questions(client)
        chats = []
        for number in range(setup.rounds + 1):
            random.Random(number).shuffle(questions)
            chats.append(_chat(setup, client, questions, f"chat-{number}"))
            seconds = [1000 * chats[-1][turn - 1].first_seconds for turn in (2, _TURNS)]
            print(f"chat {number}: {seconds[0]:.1f}, {seconds[1]:.1f} ms", file=sys.stderr)
        del chats[0]  # the warm-up
        for turn in (2, _TURNS):
            values = [1000 * chat[turn - 1].first_seconds for chat in chats]
            report.add_rounds(f"turn {turn}", values, "ms")
        ratio = statistics.median(
            chat[_TURNS - 1].first_seconds for chat in chats
        ) / statistics.median(chat[1].first_seconds for chat in chats)
        report.add_goal("ratio", ratio, f"at most {_GOAL}", met=ratio <= _GOAL)
        prefilled, new = _prefilled(chats)
        report.add_value("prefilled", prefilled, "tokens")
        report.add_value("of the new messages", new, "tokens")
        # The last token of a reply was drawn, but not computed: it comes with the next message.
        turns = len(chats) * (_TURNS - 1)
        surplus = (prefilled - new) / turns
        report.add_goal("others per turn", surplus, "at most 1", met=surplus <= 1)
        report.save()


def _questions(client: EngineClient) -> list[str]:
    """At least as many as turns, all of the same number of tokens."""
    asked = [
        f"Please tell me one more short thing that you know about {topic}."
        for topic in _TOPICS.split()
    ]
    counts = {text: count_tokens(client, text) for text in asked}
    usual = Counter(counts.values()).most_common(1)[0][0]
    found = [text for text in asked if counts[text] == usual]
    if len(found) < _TURNS:
        sys.exit("Error: this model's tokens are too different for questions of equal length.")
    return found


def _chat(setup: Setup, client: EngineClient, questions: list[str], name: str) -> list[Reply]:
    talk: list[Message] = []
    replies = []
    for question in questions[:_TURNS]:
        talk.append(Message("user", question))
        params = fixed_length(setup, _REPLY)
        request = GenerationRequest("turn", tuple(talk), params=params, conversation=name)
        replies.append(ask(client, request))
        talk.append(Message("assistant", replies[-1].text))
    return replies


def _prefilled(chats: list[list[Reply]]) -> tuple[int, int]:
    """Tokens prefilled after the first turns, and tokens that those turns brought."""
    prefilled = new = 0
    for chat in chats:
        usages = [reply.finished.usage for reply in chat]
        for before, usage in itertools.pairwise(usages):
            prefilled += usage.prompt_tokens - usage.cached_tokens
            new += usage.prompt_tokens - before.prompt_tokens - before.completion_tokens
    return prefilled, new


if __name__ == "__main__":
    main()
