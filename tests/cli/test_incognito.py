"""With --no-log nothing of what was said stays anywhere in the home."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.paths import Paths
from tests.conftest import CommandRunner

Tiny = Callable[..., Path]

# More tokens than a snapshot takes to be worth it, asked often enough to be a prefix of many.
SECRET = "the xylophone of Wladiwostok " * 30
TIMES = 5


@pytest.fixture
def model(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("LOCALCHAT_THREADS", "1")
    return str(tiny(context_length=4096))


def files(home: Path) -> dict[str, bytes]:
    """All files of the home: where they are, and what is in them."""
    return {
        str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()
    }


def changed(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    return {name for name in before | after if before.get(name) != after.get(name)}


def session(localchat: CommandRunner, model: str, *flags: str) -> list[str]:
    """An engine's whole life, with the secret in it; the answers."""
    answers = []
    command = ("-m", model, "--temp", "0", "--max-tokens", "32", "--json", *flags)
    for number in range(TIMES):
        done = localchat(f"{SECRET} {number}", *command)
        assert done.returncode == 0, done.stderr
        answers.append(json.loads(done.stdout)["text"])
    assert localchat("stop", "--all").returncode == 0
    return answers


def tells(content: bytes, answers: list[str]) -> bool:
    """Whether any of the words said or answered is in a file."""
    words = [SECRET[:24], *(answer[:12] for answer in answers)]
    spelled = [*words, *(json.dumps(word)[1:-1] for word in words)]
    return any(word.encode() in content for word in spelled)


@pytest.mark.parametrize("how", ["flag", "setting"])
def test_the_home_is_as_it_was(
    localchat: CommandRunner,
    home: Path,
    model: str,
    monkeypatch: pytest.MonkeyPatch,
    how: str,
) -> None:
    if how == "setting":
        monkeypatch.setenv("LOCALCHAT_LOG", "false")
    localchat("A conversation before", "-m", model, "--max-tokens", "8", "--log")
    localchat("stop", "--all")
    before = files(home)
    answers = session(localchat, model, *(["--no-log"] if how == "flag" else []))
    assert len({*answers}) > 1
    after = files(home)
    assert {name for name in changed(before, after) if not is_of_engines(name)} == set()
    assert before.keys() <= after.keys()
    assert [name for name, content in after.items() if tells(content, answers)] == []


def is_of_engines(name: str) -> bool:
    """What each life of an engine changes, whoever asks it: its log, its lock, how fast it was."""
    return name.startswith(("state/logs/", "run/", "cache/speeds/"))


def test_else_the_words_and_the_model_s_state_are_there(
    localchat: CommandRunner, home: Path, places: Paths, model: str
) -> None:
    """That the test above looks in the right places."""
    answers = session(localchat, model)
    found = [name for name, content in files(home).items() if tells(content, answers)]
    assert any(name.startswith("data/history.db") for name in found)
    assert list(places.snapshots.glob("*.snapshot"))


def test_nothing_of_a_question_aside_is_kept(
    localchat: CommandRunner, home: Path, model: str
) -> None:
    assert localchat("Before", "-m", model, "--max-tokens", "8").returncode == 0
    answers = session(localchat, model, "-c", "--no-log")
    assert [name for name, content in files(home).items() if tells(content, answers)] == []
