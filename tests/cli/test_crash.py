"""The command, killed at random moments of a chat: what was acknowledged is in the history.

The user's turn counts as acknowledged when the engine has the request, a word of the reply two
seconds after it was printed. Commands run in children forked from this process, which spares them
the imports; their engine is a script, and a second of the session's clock is ten words of it. Each
proof is seen to fail on a planted bug.
"""

from __future__ import annotations

import functools
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest

from localchat.cli import engine, main
from localchat.client.scripted import ScriptedClient
from localchat.events import Event, TextDelta
from localchat.paths import Paths
from localchat.session.session import Session
from localchat.store.records import StoredMessage
from localchat.store.store import Store
from localchat.types import GenerationRequest, Message
from tests.client import ENDLESS
from tests.conftest import CommandRunner
from tests.tiny_models import CONTROL_TOKENS

Tiny = Callable[..., Path]

WORDS = [f"w{number} " for number in range(60)]
A_SECOND = 10  # words
PACE = 0.001  # real seconds between two words
COMMAND = [sys.executable, "-P", "-m", "localchat.cli.main"]


class Talking(ScriptedClient):
    """Says in a pipe what it was asked, then talks for a while."""

    def __init__(self, acknowledge: int) -> None:
        super().__init__(WORDS, WORDS)
        self._acknowledge = acknowledge
        self.words = 0

    def submit(self, request: GenerationRequest) -> None:
        os.write(self._acknowledge, request.messages[-1].content.encode() + b"\n")
        super().submit(request)

    def events(self) -> Iterator[Event]:
        for event in super().events():
            time.sleep(PACE)
            self.words += isinstance(event, TextDelta)
            yield event

    def clock(self) -> float:
        return self.words / A_SECOND


class Acknowledged(NamedTuple):
    """What a command had told before it ended."""

    question: str | None
    words: list[str]


def run(arguments: list[str], output: int, acknowledge: int) -> int:
    """A command line, in a child: nothing of pytest may be left to it."""
    client = Talking(acknowledge)
    os.dup2(output, 1)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8")
    sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    sys.stdin = None
    begin = functools.partialmethod(Session.__init__, clock=client.clock)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "open_engine", lambda *_: client)
        patch.setattr(Session, "__init__", begin)
        return main.run(arguments)


def start(arguments: list[str]) -> tuple[int, int, int]:
    """(Process id, its output, its acknowledgements) of a command that has just begun."""
    output, to_output = os.pipe()
    acknowledged, to_acknowledged = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = run(arguments, to_output, to_acknowledged)
        finally:
            os._exit(code)
    os.close(to_output)
    os.close(to_acknowledged)
    return pid, output, acknowledged


def end(pid: int, output: int, acknowledged: int) -> tuple[int, Acknowledged]:
    """(How it ended, what it had told)."""
    _, status = os.waitpid(pid, 0)
    with os.fdopen(output, "rb") as printed, os.fdopen(acknowledged, "rb") as asked:
        question = asked.read().decode().removesuffix("\n") or None
        text = printed.read().decode()
    return status, Acknowledged(question, text.split(" ")[:-1])


def kill(arguments: list[str], chance: random.Random) -> Acknowledged:
    """A command that is killed while it starts, when it has just asked, or while it prints."""
    pid, output, acknowledged = start(arguments)
    match chance.randrange(4):
        case 0:
            time.sleep(chance.uniform(0, 0.1))
        case 1:
            select.select([acknowledged], [], [], 30)
        case _:
            select.select([output], [], [], 30)
            time.sleep(chance.uniform(0, 1.2 * len(WORDS) * PACE))
    os.kill(pid, signal.SIGKILL)
    return end(pid, output, acknowledged)[1]


def kill_often(places: Paths, model: str, rounds: int) -> int:
    """How many of so many killed chats were told by the engine. Fails if anything is lost."""
    chance = random.Random(rounds)
    told: list[Acknowledged] = []
    for number in range(rounds):
        goes_on = ["-c"] if any(one.question for one in told) else []
        asked = kill(["ask", "-m", model, *goes_on, f"Question {number}"], chance)
        if asked.question is None:
            continue
        assert asked.question.endswith(f"Question {number}")
        told.append(asked)
        check(places, number, asked)
    status, answer = end(*start(["ask", "-m", model, "-c", "The last one"]))
    assert status == 0
    assert answer.words == [word.strip() for word in WORDS]
    with Store.open(places) as store:
        assert store.notes == ()
        (line,) = store.newest()
        path = store.path(line.conversation.id)
        assert path[-1].state == "complete"
        assert {one.state for one in path if one.role == "assistant"} <= {"complete", "incomplete"}
        questions = [one.content for one in path if one.role == "user"]
    for one in told:
        assert one.question is not None
        assert one.question.split("\n\n")[-1] in questions
    return len(told)


def check(places: Paths, number: int, told: Acknowledged) -> None:
    """That the store has what was acknowledged."""
    connection = apsw.Connection(str(places.history))
    assert connection.execute("PRAGMA integrity_check").get == "ok"
    connection.close()
    with Store.open(places) as store:
        path = [one for line in store.newest() for one in store.path(line.conversation.id)]
    asked = [one.content for one in path if one.role == "user"][-1:]
    assert asked == [f"Question {number}"], "the user's turn is lost"
    check_reply(path[-1], told)


def check_reply(reply: StoredMessage, told: Acknowledged) -> None:
    words = [f"w{number}" for number in range(len(told.words))]
    assert told.words == words, "it is another conversation"
    assert "".join(WORDS).startswith(reply.content)
    if reply.state == "complete":
        assert reply.content == "".join(WORDS)
    else:
        assert reply.state == "incomplete"
        kept = len(reply.content.split())
        assert kept > len(words) - 2 * A_SECOND, "words of the reply are lost"


@pytest.fixture
def model(tiny: Tiny) -> str:
    return str(tiny())


@pytest.mark.parametrize(
    "rounds", [100, pytest.param(1000, marks=pytest.mark.long)], ids=["100", "1000"]
)
def test_nothing_that_was_acknowledged_is_lost(places: Paths, model: str, rounds: int) -> None:
    assert kill_often(places, model, rounds) > rounds / 2


def test_the_proof_finds_a_turn_that_is_stored_late(
    places: Paths, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    say = Session._say

    def late(self: Session, text: str, parent: Any) -> Any:
        self._client.submit(GenerationRequest("too early", (Message("user", text),)))
        return say(self, text, parent)

    monkeypatch.setattr(Session, "_say", late)
    with pytest.raises(AssertionError, match="the user's turn is lost"):
        kill_often(places, model, 100)


def test_the_proof_finds_checkpoints_that_are_left_out(
    places: Paths, model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Session, "_checkpoint", lambda *_: None)
    with pytest.raises(AssertionError, match="words of the reply are lost"):
        kill_often(places, model, 100)


@pytest.mark.parametrize("rounds", [8, pytest.param(100, marks=pytest.mark.long)], ids=["8", "100"])
def test_with_an_engine_of_its_own(
    localchat: CommandRunner, places: Paths, tiny: Tiny, rounds: int
) -> None:
    """Nothing is put in the place of anything: whole processes, and words of a model."""
    chance = random.Random(rounds)
    never_ends = [f"--logit-bias={token}=-inf" for token in range(len(CONTROL_TOKENS))]
    flags = ("-m", str(tiny(**ENDLESS)), "--temp", "0", *never_ends)
    goes_on: tuple[str, ...] = ()
    for number in range(rounds):
        command = [*COMMAND, "ask", *flags, *goes_on, f"Question {number}"]
        asking = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert asking.stdout is not None
        assert asking.stdout.read(1), "the engine has it"
        time.sleep(chance.uniform(0, 0.3))
        asking.kill()
        asking.communicate()
        goes_on = ("-c",)
    done = localchat("ask", *flags, "-c", "--max-tokens", "4", "The last one")
    assert done.returncode == 0, done.stderr
    with Store.open(places) as store:
        (line,) = store.newest()
        path = store.path(line.conversation.id)
    asked = [one.content for one in path if one.role == "user"]
    assert asked == [*(f"Question {number}" for number in range(rounds)), "The last one"]
    states = [one.state for one in path if one.role == "assistant"]
    assert states == ["incomplete"] * rounds + ["complete"]
