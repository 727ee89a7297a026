from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from localchat.errors import UsageError
from localchat.paths import Paths
from localchat.tui.chats import export
from tests.tui.chats.talking import Table


@pytest.fixture
def table(places: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Table]:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    table = Table(places)
    yield table
    table.chats.close()


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Why is the sky blue?", "why-is-the-sky-blue.md"),
        ("../../etc/passwd", "etc-passwd.md"),
        ("¿?!", "untitled.md"),
        ("Früh übt sich", "früh-übt-sich.md"),
        ("word " * 30, "word-word-word-word-word-word-word-word.md"),
    ],
)
def test_its_name_is_made_of_the_title(table: Table, said: str, name: str) -> None:
    chat = table.chats.new()
    table.take_turn(chat, said)
    assert export.write(chat, None) == Path(name)
    assert "Yes." in Path(name).read_text()


def test_a_title_without_a_word_gives_no_name(table: Table) -> None:
    chat = table.chats.new()
    table.take_turn(chat)
    chat.rename("🌊")
    assert export.write(chat, None) == Path("chat.md")


def test_no_file_is_replaced(table: Table) -> None:
    chat = table.chats.new()
    table.take_turn(chat)
    names = [export.write(chat, None) for _ in range(3)]
    assert names == [Path("hello.md"), Path("hello-2.md"), Path("hello-3.md")]
    with pytest.raises(UsageError, match=r"There is a file hello\.md already"):
        export.write(chat, Path("hello.md"))


def test_there_is_nothing_to_write_yet(table: Table) -> None:
    with pytest.raises(UsageError, match="nothing to write"):
        export.write(table.chats.new(), None)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("name", ["out.json", "out.JSON"])
@pytest.mark.parametrize("is_private", [False, True])
def test_json_is_what_was_said_and_harmless(table: Table, name: str, is_private: bool) -> None:
    said, reply = "Hello \x1b]0;x\x07 \u202e there \u009b2J", 'A "quote" \\ and 🌊'
    chat = table.chats.new(is_private=is_private)
    table.take_turn(chat, said, reply)
    export.write(chat, Path(name))
    written = Path(name).read_text()
    assert not set("\x1b\x07\u202e\u009b") & set(written)
    found = json.loads(written)
    assert [one["content"] for one in found["messages"]] == [said, reply]


@pytest.mark.parametrize("is_private", [False, True])
def test_markdown_is_harmless(table: Table, is_private: bool) -> None:
    chat = table.chats.new(is_private=is_private)
    table.take_turn(chat, "Hello \x1b]0;x\x07there", "**Yes.**")
    export.write(chat, Path("out.md"))
    written = Path("out.md").read_text()
    assert not set("\x1b\x07") & set(written)
    assert "**Yes.**" in written


def test_what_nobody_else_may_read_stays_so(table: Table) -> None:
    chat = table.chats.new()
    table.take_turn(chat)
    path = export.write(chat, None)
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
    assert [one.name for one in Path().iterdir()] == ["hello.md"]


def test_where_there_is_no_folder(table: Table) -> None:
    chat = table.chats.new()
    table.take_turn(chat)
    with pytest.raises(OSError, match="nowhere"):
        export.write(chat, Path("nowhere/out.md"))
