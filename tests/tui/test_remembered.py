from __future__ import annotations

import fcntl
import itertools
import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from localchat.errors import LocalchatError
from localchat.tui import remembered
from localchat.tui.remembered import Remembered


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_nothing_is_remembered_at_first(folder: Path) -> None:
    found = Remembered(folder)
    assert found.theme is None
    assert not found.is_sidebar_folded
    assert found.draft("") == ""
    assert not found.has_unsaved
    found.save()
    assert not folder.exists()


def test_what_was_set_is_there_in_the_next_run(folder: Path) -> None:
    first = Remembered(folder)
    first.theme = "nord"
    first.is_sidebar_folded = True
    first.keep_draft("", "new")
    first.keep_draft("abc", "Grüße\nin two lines\ud800")
    first.save()
    assert not first.has_unsaved
    second = Remembered(folder)
    assert second.theme == "nord"
    assert second.is_sidebar_folded
    assert second.draft("") == "new"
    assert second.draft("abc") == "Grüße\nin two lines\ud800"


def test_only_the_user_may_read_it(folder: Path) -> None:
    found = Remembered(folder)
    found.keep_draft("", "secret")
    found.save()
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    assert sorted(path.name for path in folder.iterdir()) == ["screen.json", "screen.json.lock"]


@pytest.mark.parametrize("text", ["", " \n", "x" * 200_001])
def test_a_draft_that_is_empty_or_too_long_is_forgotten(folder: Path, text: str) -> None:
    found = Remembered(folder)
    found.keep_draft("abc", "before")
    found.save()
    found.keep_draft("abc", text)
    assert found.draft("abc") == ""
    found.save()
    assert Remembered(folder).draft("abc") == ""
    assert "abc" not in (folder / "screen.json").read_text()


def test_of_many_drafts_the_newest_are_kept(folder: Path) -> None:
    found = Remembered(folder, itertools.count().__next__)
    for number in range(60):
        found.keep_draft(str(number), "text")
    found.keep_draft("0", "again")
    found.save()
    kept = [number for number in range(60) if Remembered(folder).draft(str(number))]
    assert kept == [0, *range(11, 60)]


def test_setting_what_is_set_already_needs_no_saving(folder: Path) -> None:
    found = Remembered(folder)
    found.theme = "nord"
    found.keep_draft("abc", "text")
    found.save()
    found.theme = "nord"
    found.keep_draft("abc", "text")
    found.keep_draft("other", "")
    assert not found.has_unsaved


def test_two_runs_at_once_keep_what_the_other_has_set(folder: Path) -> None:
    one, other = Remembered(folder), Remembered(folder)
    one.theme = "nord"
    one.keep_draft("a", "of one")
    other.is_sidebar_folded = True
    other.keep_draft("b", "of the other")
    one.save()
    other.save()
    found = Remembered(folder)
    assert (found.theme, found.is_sidebar_folded) == ("nord", True)
    assert (found.draft("a"), found.draft("b")) == ("of one", "of the other")
    assert other.theme == "nord"


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b'{"format": 2, "values": {"theme": "nord"}}',
        b'{"format": 1, "values": [1]}',
        b'{"format": 1, "values": {"theme": 3, "draft abc": "x", "draft d": {"text": 1}}}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_file_is_begun_anew(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / "screen.json").write_bytes(content)
    found = Remembered(folder)
    assert found.theme is None
    assert found.draft("abc") == found.draft("d") == ""
    found.theme = "nord"
    found.keep_draft("abc", "text")
    found.save()
    assert Remembered(folder).theme == "nord"
    assert Remembered(folder).draft("abc") == "text"


def test_a_pipe_in_its_place_hangs_nobody(folder: Path) -> None:
    folder.mkdir()
    os.mkfifo(folder / "screen.json")
    assert Remembered(folder).theme is None


def test_what_could_not_be_written_is_tried_again(folder: Path, tmp_path: Path) -> None:
    folder.symlink_to(tmp_path)
    found = Remembered(folder)
    found.theme = "nord"
    with pytest.raises(LocalchatError):
        found.save()
    assert found.has_unsaved
    assert found.theme == "nord"
    folder.unlink()
    found.save()
    assert Remembered(folder).theme == "nord"


def test_a_crash_while_writing_leaves_the_old_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Remembered(folder)
    found.theme = "nord"
    found.save()

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dump", fail)
    found.theme = "gruvbox"
    with pytest.raises(OSError, match="No space"):
        found.save()
    monkeypatch.undo()
    assert Remembered(folder).theme == "nord"
    assert sorted(path.name for path in folder.iterdir()) == ["screen.json", "screen.json.lock"]


def test_nobody_waits_long_for_one_that_was_stopped(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "_PATIENCE", 0.02)
    found = Remembered(folder)
    found.theme = "nord"
    found.save()
    with (folder / "screen.json.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found.theme = "gruvbox"
        found.save()
    assert Remembered(folder).theme == "gruvbox"
