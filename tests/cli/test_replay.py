"""`localchat history replay` on real engines, and what it prints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.paths import Paths
from localchat.store.connection import connect
from localchat.store.store import Store
from tests.conftest import CommandRunner

Tiny = Callable[..., Path]


@pytest.fixture(autouse=True)
def _one_thread(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a busy machine two threads that wait for each other are several times slower."""
    monkeypatch.setenv("LOCALCHAT_THREADS", "1")


@pytest.fixture
def model(tiny: Tiny) -> Path:
    return tiny(context_length=1024, seed=1)


def change(places: Paths, sql: str) -> None:
    """Changes a record behind the back of whoever made it."""
    connection = connect(places.history)
    connection.execute(sql)
    connection.close()


def test_a_reply_is_made_again(localchat: CommandRunner, places: Paths, model: Path) -> None:
    """Drawn at random: only the same seed gives the same."""
    command = ("-m", str(model), "--temp", "1", "--max-tokens", "24", "--json")
    made = json.loads(localchat("hello", *command).stdout)
    localchat("stop", "--all")
    done = localchat("history", "replay", made["conversation"][:8])
    assert (done.returncode, done.stdout) == (0, "equal\n"), done.stderr
    with Store.open(places) as store:
        assert store.stats().messages == 2, "it leaves nothing"
    assert not list(places.snapshots.glob("*.snapshot"))

    change(places, "UPDATE generations SET params = json_set(params, '$.seed', 1)")
    done = localchat("history", "replay", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 1
    assert (found["equal"], found["message"]) == (False, made["message"])
    assert found["kind"] == "content"
    assert made["text"][found["character"] :].startswith(found["recorded"])
    assert found["recorded"][:1] != found["replayed"][:1]
    assert 1 <= found["token"] <= 24


def test_a_later_reply_is_made_again_with_those_before_it(
    localchat: CommandRunner, model: Path
) -> None:
    """Also beside the very conversation in the engine's memory, and beside one like it."""
    command = ("-m", str(model), "--temp", "1", "--max-tokens", "16", "--json")
    for seed in ("1", "2"):
        localchat("hello the", *command, "--seed", seed)
        for words in ("hello", "the hello"):
            made = json.loads(localchat("-c", words, *command, "--seed", seed).stdout)
            assert made["usage"]["cached_tokens"] > 16
        found = json.loads(localchat("history", "replay", "--json").stdout)
        assert found["equal"], found
        assert found["as_made"]


def test_a_difference_is_shown_with_its_surroundings(
    localchat: CommandRunner, places: Paths, model: Path
) -> None:
    answer = ("-m", str(model), "--temp", "0", "--max-tokens", "8", "--json")
    biased = ("--logit-bias", "x=100")
    made = json.loads(localchat("hello", *answer, *biased).stdout)
    assert made["text"] == "x" * 8
    change(
        places,
        "UPDATE messages SET content = 'xxX' WHERE role = 'assistant'",
    )
    done = localchat("history", "replay", "--message", str(made["message"]))
    assert done.returncode == 1
    first, recorded, replayed, *_ = done.stdout.split("\n")
    assert first == "different from token 3 on, character 3 of the reply"
    assert recorded == "  recorded: xx│X"
    assert replayed == f"  replayed: xx│{'x' * 6}"


def test_another_file_under_the_same_name_is_refused(
    localchat: CommandRunner, places: Paths, model: Path
) -> None:
    localchat("hello", "-m", str(model), "--max-tokens", "4")
    change(places, f"UPDATE generations SET model_sha256 = '{'a' * 64}'")
    done = localchat("history", "replay")
    assert done.returncode == 3
    assert "is another file now" in done.stderr


def test_what_is_not_as_it_was_is_said(
    localchat: CommandRunner, places: Paths, model: Path
) -> None:
    localchat("hello", "-m", str(model), "--temp", "0", "--max-tokens", "4")
    change(places, "UPDATE generations SET template_sha256 = 'b', engine_build = 'older'")
    done = localchat("history", "replay")
    assert done.returncode == 0
    same, template, build = done.stderr.splitlines()
    assert same == "Note: whether the file of the model is still the same is not known."
    assert "template" in template
    assert "it was older" in build


def test_without_a_reply_there_is_nothing_to_make_again(localchat: CommandRunner) -> None:
    for arguments in ((), ("--message", "7"), ("abcd",)):
        done = localchat("history", "replay", *arguments)
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr.startswith("Error: There is no ")
