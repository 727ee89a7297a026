"""`localchat -t NAME`: what arrives at the engine, and what a missing preset or model says."""

from __future__ import annotations

from collections.abc import Callable

from localchat.client.scripted import ScriptedClient
from localchat.paths import Paths
from localchat.presets.folder import write_own
from localchat.types import Message
from tests.conftest import CommandRunner

Scripted = Callable[..., int]


def messages(scripted: Scripted, *arguments: str) -> tuple[Message, ...]:
    client = ScriptedClient(["x"])
    assert scripted(client, *arguments) == 0
    (request,) = client.requests
    return request.messages


def test_all_of_a_preset_arrives(scripted: Scripted, places: Paths) -> None:
    text = b"system = 'In {tone}.'\nreasoning = 'off'\nparameters = { tone = '' }\n"
    write_own("poet", text + b"[sampling]\nseed = 7\nstop = ['END']", places)
    client = ScriptedClient(["x"])
    assert scripted(client, "-t", "poet", "-p", "tone=rhyme", "hi") == 0
    (request,) = client.requests
    assert request.messages == (Message("system", "In rhyme."), Message("user", "hi"))
    assert request.reasoning == "off"
    assert (request.params.seed, request.params.stop) == (7, ("END",))


def test_flags_go_before_a_preset(scripted: Scripted) -> None:
    found = messages(scripted, "-t", "proofread", "-s", "Do nothing.", "hi")
    assert found == (Message("system", "Do nothing."), Message("user", "hi"))
    assert messages(scripted, "-t", "proofread", "-s", "", "hi") == (Message("user", "hi"),)


def test_the_model_of_a_preset_is_looked_for(localchat: CommandRunner, places: Paths) -> None:
    write_own("poet", b"model = 'nobody'", places)
    done = localchat("-t", "poet", "hi")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == localchat("-m", "nobody", "hi").stderr
    assert "nobody" in done.stderr


def test_what_is_wrong_with_a_preset_is_one_sentence(
    localchat: CommandRunner, places: Paths
) -> None:
    path = write_own("poet", b"system = 'In {tone}.'\nparameters = { tone = '' }", places)
    for arguments, said in (
        (
            ("-t", "poem"),
            "There is no preset 'poem'; perhaps 'poet' is meant.\nTry: localchat presets list",
        ),
        (
            ("-t", "poet"),
            "The preset poet needs the parameter 'tone'.\nTry: localchat -t poet -p tone=…",
        ),
        (
            ("-t", "poet", "-p", "tune=x"),
            "The preset poet has no parameter 'tune'; perhaps 'tone' is meant.\n"
            "Try: localchat presets show poet",
        ),
    ):
        done = localchat(*arguments, "hi")
        assert (done.returncode, done.stderr) == (2, f"Error: {said}\n")
    path.write_text("temperature = 1")
    done = localchat("hi", env={"LOCALCHAT_PRESET": "poet"})
    assert done.returncode == 2
    assert done.stderr == (
        f"Error: {path} can't be used: 'temperature' belongs under [sampling].\n"
        "Try: localchat presets edit poet\n"
    )
