from __future__ import annotations

import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.errors import LocalchatError
from localchat.tui.widgets.prompt.editor import edit

Editor = Callable[[str], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Editor:
    """Makes $EDITOR a program whose body is given; `path` is the file."""

    def become(body: str) -> None:
        program = tmp_path / "an editor.py"
        program.write_text(f"import sys, pathlib\npath = pathlib.Path(sys.argv[1])\n{body}\n")
        monkeypatch.delenv("VISUAL", raising=False)
        monkeypatch.setenv("EDITOR", f"{sys.executable} '{program}'")

    return become


def test_what_the_editor_saved_comes_back(editor: Editor, folder: Path) -> None:
    editor("path.write_text(path.read_text() + ' and more\\n', encoding='utf-8')")
    assert edit("Grüße", folder) == "Grüße and more"


def test_a_text_that_is_not_saved_stays(editor: Editor, folder: Path) -> None:
    editor("pass")
    assert edit("one\r\ntwo\n", folder) == "one\ntwo\n"


def test_the_file_is_private_markdown_and_gone_afterwards(editor: Editor, folder: Path) -> None:
    editor(
        "backup = path.with_name('prompt.md~'); backup.write_text('secret')\n"
        "path.write_text(f'{path.name} {path.stat().st_mode:o} {path.parent.stat().st_mode:o}')"
    )
    assert edit("secret", folder) == "prompt.md 100600 40700"
    assert list(folder.iterdir()) == []
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("body", "reason"),
    [("sys.exit(1)", "did not end well"), ("path.unlink()", "No such file or directory")],
)
def test_an_editor_that_fails(editor: Editor, folder: Path, body: str, reason: str) -> None:
    editor(body)
    with pytest.raises(LocalchatError, match=reason):
        edit("text", folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("command", ["no-such-editor-anywhere", "vi 'unclosed"])
def test_an_editor_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, folder: Path, command: str
) -> None:
    monkeypatch.setenv("VISUAL", command)
    with pytest.raises(LocalchatError, match="did not end well") as caught:
        edit("text", folder)
    assert caught.value.hint is not None
    assert "EDITOR" in caught.value.hint


def test_bytes_that_are_no_text_are_shown_as_such(editor: Editor, folder: Path) -> None:
    editor("path.write_bytes(b'caf\\xe9 and more')")
    assert edit("", folder) == "caf\ufffd and more"
