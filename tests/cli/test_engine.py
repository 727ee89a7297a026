"""The flags that choose an engine, and what it is started with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localchat.cli import engine, main
from localchat.client.engines import running
from localchat.client.scripted import ScriptedClient
from localchat.paths import Paths
from localchat.types import LoadOptions
from tests.conftest import CommandRunner

Tiny = Callable[..., Path]
GREEDY = ("--temp", "0", "--max-tokens", "24", "--json")
COPY = ("Repeat: the cat sat on the mat, the cat sat on the mat.", *GREEDY)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[LoadOptions]:
    """What engines would have been started with."""
    options: list[LoadOptions] = []

    def open_engine(_: object, found: LoadOptions, *__: Any) -> ScriptedClient:
        options.append(found)
        return ScriptedClient(["x"])

    monkeypatch.setattr(engine, "open_engine", open_engine)
    monkeypatch.setattr("sys.stdin", None)
    return options


def test_settings_and_flags_make_the_options(
    opened: list[LoadOptions], tiny: Tiny, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    draft = tiny(seed=1)
    ask = ["hi", "-m", str(tiny())]
    assert main.run(ask) == 0
    places.config.mkdir(exist_ok=True)
    places.config_file.write_text(
        f"context = 512\nkv_type = 'q8_0'\ngpu_layers = 0\nthreads = 3\nparallel = 2\n"
        f"snapshot_budget = '1MB'\ndraft = '{draft}'\n"
    )
    assert main.run(ask) == 0
    assert main.run([*ask, "--threads", "5", "--draft", str(tiny())]) == 0
    written = LoadOptions(
        context=512,
        kv_type="q8_0",
        gpu_layers=0,
        threads=3,
        parallel=2,
        draft=str(draft),
        snapshot_budget=10**6,
    )
    assert opened[:2] == [LoadOptions(), written]
    assert (opened[2].threads, opened[2].draft) == (5, str(tiny()))


def test_threads_are_at_least_one(
    opened: list[LoadOptions], capsys: pytest.CaptureFixture[str]
) -> None:
    for text in ("0", "-1", "many"):
        assert main.run(["hi", "--threads", text]) == 2
        assert "Invalid value for '--threads'" in capsys.readouterr().err
    assert not opened


def test_other_threads_mean_another_engine(
    localchat: CommandRunner, tiny: Tiny, places: Paths
) -> None:
    for threads in ("1", "2", "2"):
        done = localchat("hi", "-m", str(tiny()), "--threads", threads, *GREEDY)
        assert (done.returncode, done.stderr) == (0, "")
    assert len(running(places)) == 2


def test_a_draft_changes_no_word(
    localchat: CommandRunner, installed_starter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCALCHAT_THREADS", "1")
    plain = json.loads(localchat(*COPY).stdout)
    done = localchat(*COPY, "--draft", "smollm2-135m")
    assert (done.returncode, done.stderr) == (0, "")
    drafted = json.loads(done.stdout)
    assert drafted["text"] == plain["text"]
    assert drafted["finish_reason"] == plain["finish_reason"]
    assert drafted["usage"]["completion_tokens"] == plain["usage"]["completion_tokens"]


def test_a_draft_of_another_family_is_refused(localchat: CommandRunner, tiny: Tiny) -> None:
    done = localchat("hi", "-m", str(tiny()), "--draft", str(tiny("phi3")))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"Error: {tiny('phi3')} can't draft for this model: it has another vocabulary.\n"
        "Try: Take a smaller model of the same family.\n"
    )


def test_an_unknown_draft_is_not_found(localchat: CommandRunner, tiny: Tiny) -> None:
    for name in ("smolm2", "gone.gguf"):
        done = localchat("hi", "-m", str(tiny()), "--draft", name)
        assert (done.returncode, done.stdout) == (3, "")
        assert name in done.stderr
        assert "\nTry: " in done.stderr


def test_a_model_that_thinks_does_so_beside_the_answer(
    localchat: CommandRunner, tiny: Tiny
) -> None:
    """Its template begins the thinking; the budget ends it, for the model would not."""
    template = (
        "{% for message in messages %}{{ message['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}<think>\n{% endif %}{# </think> #}"
    )
    model = tiny(chat_template=template, context_length=8192, seed=1)
    ask = ("hello", "-m", str(model), "--temp", "0", "--max-tokens", "60", "--seed", "1")
    done = localchat(*ask, "--reasoning-budget", "20", "--json")
    found = json.loads(done.stdout)
    assert found["reasoning"]
    assert found["text"]
    plain = localchat(*ask, "--reasoning-budget", "20")
    assert plain.stderr == ""
    assert json.loads(localchat(*ask, "--json").stdout)["text"] == ""
