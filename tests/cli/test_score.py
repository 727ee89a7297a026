"""`localchat score`: what is likeliest comes first."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from localchat.client.scripted import ScriptedClient
from localchat.events import Failed, Scored
from localchat.types import Score, Timings, Usage
from tests.conftest import CommandRunner

CAPITAL = ("score", "What is the capital of France? Answer with one word.")
CITIES = ("-c", "Berlin", "-c", "Paris", "-c", "Banana")
SCORED = Scored(
    "",
    (Score(-2.5, 1), Score(-0.25, 12), Score(0.0, 0), Score(-2.5, 3)),
    Usage(10, 4, 0),
    Timings(0.1, 0.2, 0.3),
)
FOUR = ("-c", "b", "-c", "\x1b[1ma", "-c", "", "-c", "again")


@pytest.mark.usefixtures("warm_starter")
def test_the_likeliest_choice_comes_first(localchat: CommandRunner) -> None:
    done = localchat(*CAPITAL, *CITIES)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert [line.split()[-1] for line in lines] == ["Paris", "Berlin", "Banana"]
    values = [float(line.split()[0]) for line in lines]
    assert 0 > values[0] > values[1] > values[2]

    found = json.loads(localchat(*CAPITAL, *CITIES, "--json").stdout)
    assert [score["choice"] for score in found["scores"]] == ["Paris", "Berlin", "Banana"]
    assert [score["logprob"] for score in found["scores"]] == pytest.approx(values, abs=0.05)
    assert found["usage"]["cached_tokens"] == found["usage"]["prompt_tokens"] - 1

    piped = localchat("score", *CITIES, "--json", stdin=CAPITAL[1] + "\n")
    assert json.loads(piped.stdout)["usage"]["prompt_tokens"] == found["usage"]["prompt_tokens"]


@pytest.mark.usefixtures("warm_starter")
def test_a_raw_prompt_and_an_empty_choice(localchat: CommandRunner) -> None:
    raw = ("score", "--raw", "The capital of France is", "-c", " Paris", "-c", "", "--json")
    found = json.loads(localchat(*raw).stdout)
    empty, paris = found["scores"]
    assert empty == {"choice": "", "logprob": 0.0, "tokens": 0}
    assert -5 < paris["logprob"] < 0
    assert paris["tokens"] == 1
    assert found["usage"]["prompt_tokens"] == 5


def test_ties_keep_their_order_and_nothing_reaches_the_terminal(
    scripted: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    client = ScriptedClient(SCORED)
    assert scripted(client, "score", "hi", *FOUR) == 0
    assert capsys.readouterr() == (
        "    0.0000    0 tokens  \n"
        "   -0.2500   12 tokens  [1ma\n"
        "   -2.5000    1 tokens  b\n"
        "   -2.5000    3 tokens  again\n",
        "",
    )
    (request,) = client.requests
    assert request.continuations == ("b", "\x1b[1ma", "", "again")
    assert request.messages[0].content == "hi"


def test_json_is_one_object(
    scripted: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert scripted(ScriptedClient(SCORED), "score", "hi", "--json", *FOUR) == 0
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    found = json.loads(out)
    assert list(found) == ["scores", "model", "usage", "timings"]
    assert found["scores"][1] == {"choice": "\x1b[1ma", "logprob": -0.25, "tokens": 12}


def test_raw_joins_the_system_prompt(scripted: Callable[..., int]) -> None:
    client = ScriptedClient(SCORED)
    assert scripted(client, "score", "hi", "--raw", "-s", "system", *FOUR) == 0
    assert (client.requests[0].messages, client.requests[0].prompt) == ((), "system\n\nhi")


def test_a_failure_is_the_error_it_names(
    scripted: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    client = ScriptedClient(Failed("", "ContextOverflow", "Too long.", "shorten it"))
    assert scripted(client, "score", "hi", "-c", "a") == 1
    assert capsys.readouterr() == ("", "Error: Too long.\nTry: shorten it\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("-c", "a"), "There is no prompt."), (("hi",), "Missing option '-c' / '--choice'.")],
)
def test_a_prompt_and_a_choice_are_needed(
    scripted: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    said: str,
) -> None:
    assert scripted(ScriptedClient(), "score", *arguments) == 2
    assert capsys.readouterr() == ("", f"Error: {said}\nTry: localchat score --help\n")
