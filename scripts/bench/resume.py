"""How soon does a conversation go on after a new start? See README.md beside this file."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from common import Report, Setup, alternate, engine, parser, prepare, stop_engines
from streams import Reply, ask
from texts import fixed_length, passages

from localchat.client.base import EngineClient
from localchat.types import GenerationRequest, Message

_TOKENS, _TURNS = 2000, 8
_ANSWER, _QUESTION, _REPLY = 180, 60, 16  # tokens
_GOAL = 0.05

Conversation = tuple[Message, ...]


def main() -> None:
    arguments = parser("the first token of a saved conversation", rounds=5).parse_args()
    with prepare(arguments) as setup:
        report = Report("resume", setup)
        with engine(setup) as client:
            talks = list(itertools.islice(_conversations(client), setup.rounds + 1))
        replies: list[Reply] = []

        def restored() -> float:
            replies[:] = _resume(setup, talks.pop())
            return 1000 * replies[0].first_seconds

        measures = {
            "restored": restored,
            "prefilled": lambda: 1000 * replies[1].first_seconds,
        }
        values = alternate(setup.rounds, measures, "ms")
        medians = [report.add_rounds(name, values[name], "ms").median for name in values]
        usage = replies[0].finished.usage
        report.add_value("prompt", usage.prompt_tokens, "tokens")
        report.add_value("of it restored", usage.cached_tokens, "tokens")
        ratio = medians[0] / medians[1]
        report.add_goal("ratio", ratio, f"at most {_GOAL}", met=ratio <= _GOAL)
        report.save()


def _resume(setup: Setup, talk: Conversation) -> tuple[Reply, Reply]:
    """The same next turn in a new engine: from the saved state, and without."""
    with engine(setup) as client:
        before = _ask(setup, client, talk)
    stop_engines(setup.paths)
    talk = (*talk, Message("assistant", before.text), Message("user", "Go on, please."))
    with engine(setup) as client:
        return _ask(setup, client, talk), _ask(setup, client, talk, reuse_cache=False)


def _ask(
    setup: Setup, client: EngineClient, talk: Conversation, *, reuse_cache: bool = True
) -> Reply:
    request = GenerationRequest(
        "turn",
        talk,
        params=fixed_length(setup, _REPLY),
        reuse_cache=reuse_cache,
        conversation=talk[0].content[:40] if reuse_cache else None,
        speculate=False,
    )
    return ask(client, request)


def _conversations(client: EngineClient) -> Iterator[Conversation]:
    """Conversations that all begin differently."""
    questions, answers = passages(client, _QUESTION, seed=1), passages(client, _ANSWER, seed=2)
    while True:
        talk: list[Message] = []
        for _ in range(_TURNS):
            talk += [Message("user", next(questions)), Message("assistant", next(answers))]
        yield (*talk, Message("user", next(questions)))


if __name__ == "__main__":
    main()
