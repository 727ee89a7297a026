"""`localchat presets edit`, on a terminal, with editors that are scripts."""

from __future__ import annotations

import stat
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.cli.presets import edit
from localchat.paths import Paths
from localchat.presets.folder import find, write_own
from localchat.presets.preset import parse
from tests.cli.terminal import on_terminal

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

Run = Callable[..., tuple[int, str, str]]
Editor = Callable[[str], None]


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Editor:
    """Makes a shell script the editor; the file is its $1."""

    def install(script: str) -> None:
        path = tmp_path / "my editor"
        path.write_text(script)
        monkeypatch.setenv("VISUAL", f"sh '{path}'")

    return install


def test_a_new_one_begins_as_comments_that_hold_when_uncommented(
    editor: Editor, places: Paths
) -> None:
    editor('cp "$1" "$1.seen"; sed -i "s/^# \\([a-z\\[I\\"]\\)/\\1/" "$1"')
    code, written = on_terminal("presets", "edit", "poet")
    path = places.presets / "poet.toml"
    assert (code, written) == (0, f"The preset poet is in {path}.\r\n".encode())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert tomllib.loads((places.presets / "poet.toml.seen").read_text()) == {}
    preset = find("poet", places).preset()
    assert preset.instructions({"language": "Latin"}) == (
        "Instructions that come before the prompt. Write in Latin."
    )
    assert preset.model
    assert preset.sampling["stop"] == ("END",)


def test_a_shipped_one_is_copied_first(editor: Editor, places: Paths) -> None:
    shipped = find("translate", places).read()
    editor('echo "top_k = 1" >> "$1"; chmod 644 "$1"')
    assert on_terminal("presets", "edit", "translate")[0] == 0
    own = find("translate", places)
    assert own.is_own
    assert own.read() == shipped + b"top_k = 1\n"
    assert stat.S_IMODE(own.path.stat().st_mode) == 0o600


def test_an_own_one_is_edited_where_it_is(editor: Editor, places: Paths) -> None:
    write_own("poet", b"system = 'a'\n", places)
    editor('echo "model = \'b\'" >> "$1"')
    assert on_terminal("presets", "edit", "poet")[0] == 0
    assert find("poet", places).read() == b"system = 'a'\nmodel = 'b'\n"


@pytest.mark.parametrize("name", ["poet", "translate"])
@pytest.mark.parametrize("script", ["true", "exit 3", 'rm "$1"'])
def test_a_copy_that_was_not_changed_is_not_left(
    editor: Editor, places: Paths, name: str, script: str
) -> None:
    editor(script)
    code, written = on_terminal("presets", "edit", name)
    assert list(places.presets.iterdir()) == []
    if script == "exit 3":
        assert (code, b"Editing failed" in written) == (1, True)
    else:
        assert (code, written) == (0, b"Nothing was changed.\r\n")


def test_an_own_one_that_was_not_changed_stays(editor: Editor, places: Paths) -> None:
    path = write_own("poet", b"", places)
    editor("true")
    assert on_terminal("presets", "edit", "poet")[0] == 0
    assert path.exists()


def test_what_is_wrong_is_said_and_the_file_is_kept(editor: Editor, places: Paths) -> None:
    editor('echo "system = 1" > "$1"')
    code, written = on_terminal("presets", "edit", "poet")
    path = places.presets / "poet.toml"
    assert code == 2
    assert written.decode().splitlines() == [
        f"Error: {path} can't be used: 'system' must be a text, not 1.",
        "Try: localchat presets edit poet",
    ]
    assert path.read_text() == "system = 1\n"


def test_an_editor_that_is_no_command(places: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISUAL", "vi '")
    code, written = on_terminal("presets", "edit", "poet")
    assert code == 2
    assert written.startswith(b"Error: The editor can't be started: No closing quotation.")
    assert list(places.presets.iterdir()) == []


def test_without_a_terminal_nothing_is_begun(run: Run, places: Paths) -> None:
    code, _, err = run("edit", "poet")
    assert code == 2
    assert err == (
        "Error: There is no terminal to edit on.\n"
        f"Try: write {places.presets}/poet.toml yourself, then: localchat presets show poet\n"
    )
    assert not places.presets.exists()


def test_a_name_that_cannot_be_one(run: Run, places: Paths) -> None:
    code, _, err = run("edit", "../poet")
    assert code == 2
    assert err.startswith("Error: '../poet' can't be a preset: lower-case letters, digits and '-'")
    assert not places.presets.exists()


def test_the_comments_are_valid_as_they_are() -> None:
    assert parse("poet", edit._SKELETON, "poet").sampling == {}
