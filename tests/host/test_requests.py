"""Requests of every kind, over the socket of a real engine process with a tiny model."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localchat.client.engines import running
from localchat.client.socket_client import SocketClient
from localchat.errors import EngineDied
from localchat.events import (
    LAST_EVENTS,
    Event,
    Failed,
    Finished,
    PrefillProgress,
    Rendered,
    Scored,
    TextDelta,
    TokenLogprobs,
    Trimmed,
)
from localchat.paths import Paths
from localchat.types import GenerationRequest, Message, SamplingParams
from tests.client import open_model, patch_engines, reply, request
from tests.conftest import wait_until

Tiny = Callable[..., Path]

CONTEXT = 2048
TURN = (Message("user", " hello the" * 50), Message("assistant", " the" * 50))
LONG = (Message("system", "Be kind."), *(TURN * 6), Message("user", "hello"))
"""A little more than the context holds: a turn has some 350 tokens."""


@pytest.fixture
def model(tiny: Tiny) -> Path:
    return tiny(context_length=CONTEXT, seed=1)


@pytest.fixture
def client(model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SocketClient]:
    """Of an engine that looks for work only when it is told that there is some."""
    patch_engines(monkeypatch, "from localchat.host import worker; worker._QUIET = 1000.0")
    client = open_model(model)
    client._socket.settimeout(20)
    yield client
    client.close()


def conversation(*messages: Message, **options: Any) -> GenerationRequest:
    params = SamplingParams(temperature=0.0, seed=1, max_tokens=8)
    return GenerationRequest(secrets.token_hex(4), messages, params=params, **options)


def ask(client: SocketClient, asked: GenerationRequest) -> list[Event]:
    client.submit(asked)
    return list(client.events())


def text(events: list[Event], choice: int = 0) -> str:
    deltas = [event for event in events if isinstance(event, TextDelta)]
    return "".join(delta.text for delta in deltas if delta.choice == choice)


def is_busy(places: Paths) -> bool:
    (engine,) = running(places)
    return bool(engine.status["state"] == "busy")


class TestTooLong:
    def test_it_is_refused(self, client: SocketClient) -> None:
        (failed,) = ask(client, conversation(*LONG))
        assert isinstance(failed, Failed)
        assert failed.kind == "ContextOverflow"

    def test_the_oldest_turns_are_dropped(self, client: SocketClient) -> None:
        asked = conversation(*LONG, overflow="drop")
        first, *events = ask(client, asked)
        assert first == Trimmed(asked.id, (1, 2))
        kept = [message for index, message in enumerate(LONG) if index not in (1, 2)]
        assert text(events) == text(ask(client, conversation(*kept)))
        assert isinstance(events[-1], Finished)

    def test_a_summary_stands_in_their_place(self, client: SocketClient) -> None:
        asked = conversation(*LONG, overflow="summarise")
        first, *events = ask(client, asked)
        assert isinstance(first, Trimmed)
        assert first.summary
        assert first.dropped in ((1, 2), (1, 2, 3, 4))
        assert isinstance(events[0], PrefillProgress)
        assert isinstance(events[-1], Finished)
        assert {event.request_id for event in events} == {asked.id}
        assert text(events)

    def test_a_summary_may_be_made_in_parts(self, client: SocketClient) -> None:
        """What has to go is itself longer than the context, several times."""
        turn = (Message("user", " hello the" * 100), Message("assistant", " the" * 100))
        last = Message("user", " the" * 400)  # with room for a summary of odd bytes, but no turn
        asked = conversation(LONG[0], *(turn * 6), last, overflow="summarise")
        first, *_, end = ask(client, asked)
        assert isinstance(first, Trimmed)
        assert first.summary
        assert first.dropped == tuple(range(1, 13))
        assert isinstance(end, Finished)

    @pytest.mark.parametrize("policy", ["drop", "summarise"])
    def test_what_fits_is_left_alone(self, client: SocketClient, policy: Any) -> None:
        first, *_ = ask(client, conversation(*TURN, LONG[-1], overflow=policy))
        assert isinstance(first, PrefillProgress)

    @pytest.mark.parametrize("policy", ["drop", "summarise"])
    def test_a_last_message_that_is_too_long_fails(self, client: SocketClient, policy: Any) -> None:
        huge = Message("user", " the" * CONTEXT)
        (failed,) = ask(client, conversation(*LONG[:-1], huge, overflow=policy))
        assert isinstance(failed, Failed)
        assert failed.kind == "ContextOverflow"
        assert reply(client, max_tokens=4)

    def test_the_prompt_that_would_come_of_it_can_be_seen(self, client: SocketClient) -> None:
        (rendered,) = ask(client, conversation(*LONG, overflow="drop", render_only=True))
        assert isinstance(rendered, Rendered)
        assert rendered.prompt.count(TURN[0].content) == 5
        assert rendered.dropped == (1, 2)
        kept = [n for at, n in enumerate(rendered.message_tokens) if at not in rendered.dropped]
        assert len(kept) == len(LONG) - 2
        assert 0 <= rendered.prompt_tokens - sum(kept) < 20 * len(kept), "the template's own"


class TestWhileASummaryIsMade:
    """It takes seconds: nearly all of a long context is read, and an eighth of it written."""

    ASKED = conversation(*(TURN * 50), LONG[-1], overflow="summarise")

    @pytest.fixture
    def model(self, tiny: Tiny) -> Path:
        return tiny(context_length=16384, seed=1)

    def test_it_can_be_cancelled(self, client: SocketClient, places: Paths) -> None:
        client.submit(self.ASKED)
        wait_until(lambda: is_busy(places))
        client.cancel(self.ASKED.id)
        (last,) = client.events()
        assert isinstance(last, Finished)
        assert (last.request_id, last.finish_reason) == (self.ASKED.id, "cancelled")
        assert reply(client, max_tokens=4)
        assert not is_busy(places)

    def test_a_client_that_leaves_takes_its_request_along(
        self, client: SocketClient, model: Path, places: Paths
    ) -> None:
        before = reply(client, max_tokens=4)
        other = open_model(model)
        other.submit(self.ASKED)
        wait_until(lambda: is_busy(places))
        other.close()
        wait_until(lambda: not is_busy(places))
        assert reply(client, max_tokens=4) == before

    def test_the_engine_can_be_stopped(self, client: SocketClient, places: Paths) -> None:
        client.submit(self.ASKED)
        wait_until(lambda: is_busy(places))
        (engine,) = running(places)
        engine.stop()
        assert os.waitstatus_to_exitcode(os.waitpid(engine.status["pid"], 0)[1]) == 0
        with pytest.raises(EngineDied, match="stopped"):
            list(client.events())


def test_someone_who_waits_is_served_before_a_batch(client: SocketClient) -> None:
    batch = [replace(request(max_tokens=60), priority="batch") for _ in range(20)]
    for asked in batch:
        client.submit(asked)
    someone = request(max_tokens=4)
    client.submit(someone)
    ended = [event.request_id for event in client.events() if isinstance(event, LAST_EVENTS)]
    assert sorted(ended) == sorted([someone.id, *(asked.id for asked in batch)])
    assert ended.index(someone.id) < 10


def test_a_batch_says_the_same_beside_someone_who_waits(client: SocketClient) -> None:
    alone = reply(client, max_tokens=60)
    asked = replace(request(max_tokens=60), priority="batch")
    client.submit(asked)
    client.submit(request("the hello", max_tokens=4))
    mine = [event for event in client.events() if event.request_id == asked.id]
    assert text(mine) == alone


def test_several_completions_share_their_prompt(client: SocketClient) -> None:
    asked = request(max_tokens=8, n=3, temperature=1.5, seed=5)
    *events, last = ask(client, asked)
    assert isinstance(last, Finished)
    assert [choice.seed for choice in last.choices] == [5, 6, 7]
    assert last.usage.completion_tokens == sum(c.completion_tokens for c in last.choices)
    texts = [text(events, choice) for choice in range(3)]
    assert len(set(texts)) == 3
    progress = [event for event in events if isinstance(event, PrefillProgress)]
    assert len(progress) == 1


def test_several_completions_are_cancelled_together(client: SocketClient) -> None:
    asked = request(n=3)
    client.submit(asked)
    events = client.events()
    next(event for event in events if isinstance(event, TextDelta))
    client.cancel(asked.id)
    *_, last = events
    assert isinstance(last, Finished)
    assert {choice.finish_reason for choice in last.choices} == {"cancelled"}


def test_continuations_are_scored(client: SocketClient) -> None:
    texts = (" hello", " the", "", " hello the")
    asked = replace(request("hello the hello"), continuations=texts)
    *progress, scored = ask(client, asked)
    assert all(isinstance(event, PrefillProgress) for event in progress)
    assert isinstance(scored, Scored)
    assert [score.tokens for score in scored.scores] == [1, 3, 0, 4]
    hello, the, empty, both = (score.logprob for score in scored.scores)
    assert empty == 0 > max(hello, the)
    assert both < hello


def test_logprobs_come_before_their_text(client: SocketClient) -> None:
    *events, _ = ask(client, request(max_tokens=4, logprobs=2))
    scores = [event for event in events if isinstance(event, TokenLogprobs)]
    assert len(scores) == 4
    assert all(len(score.top) == 2 and score.top[0][1] == score.logprob for score in scores)
    kinds = [type(event) for event in events if not isinstance(event, PrefillProgress)]
    assert kinds[0] is TokenLogprobs


@pytest.mark.parametrize(
    "params", [{"n": 0}, {"n": 65}, {"logprobs": 101}, {"grammar": "root ::= ("}]
)
def test_what_cannot_be_done_fails_alone(client: SocketClient, params: dict[str, Any]) -> None:
    (failed,) = ask(client, request(**params))
    assert isinstance(failed, Failed)
    assert reply(client, max_tokens=4)
