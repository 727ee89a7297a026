from __future__ import annotations

import itertools
import os
from pathlib import Path

import pytest

from localchat.tui.widgets.prompt import files
from localchat.tui.widgets.prompt.files import scan


def make(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")


def test_near_files_come_first(tmp_path: Path) -> None:
    make(tmp_path, "b/deep/z.py", "b/a.py", "c.md", "a.md")
    assert scan(tmp_path) == ["a.md", "c.md", "b/a.py", "b/deep/z.py"]


def test_what_nobody_wants_to_show_a_model_is_skipped(tmp_path: Path) -> None:
    make(tmp_path, ".git/config", ".hidden", "node_modules/a.js", "__pycache__/a.pyc", "venv/a.py")
    make(tmp_path, "picture.PNG", "weights.gguf", "archive.tar.gz", "kept.txt", "Makefile")
    assert scan(tmp_path) == ["Makefile", "kept.txt"]


def test_names_that_are_harmful_to_show_are_skipped(tmp_path: Path) -> None:
    make(tmp_path, "a\nb.txt", "a\x1bb.txt", "a\u202eb.txt", "größe 1.txt")
    assert scan(tmp_path) == ["größe 1.txt"]


def test_links_to_folders_are_not_followed(tmp_path: Path) -> None:
    make(tmp_path, "a/b.txt")
    (tmp_path / "a" / "again").symlink_to(tmp_path)
    (tmp_path / "c.txt").symlink_to(tmp_path / "a" / "b.txt")
    (tmp_path / "gone.txt").symlink_to(tmp_path / "nowhere")
    assert scan(tmp_path) == ["c.txt", "a/b.txt"]


def test_a_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    assert scan(tmp_path / "none") == []


def test_a_folder_that_may_not_be_read_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path, "a/b.txt", "c.txt")
    real = os.scandir

    def refuse(folder: Path) -> object:
        if folder.name == "a":
            raise PermissionError
        return real(folder)

    with monkeypatch.context() as patch:  # pytest itself looks into folders afterwards
        patch.setattr(os, "scandir", refuse)
        assert scan(tmp_path) == ["c.txt"]


def test_so_many_entries_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path, *(f"{number}.txt" for number in range(20)), "deep/a.txt")
    monkeypatch.setattr(files, "_MOST_ENTRIES", 10)
    assert len(scan(tmp_path)) <= 10


def test_so_much_time_is_enough(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "b/c.txt", "b/d/e.txt")
    clock = itertools.count(0, 0.6).__next__
    assert scan(tmp_path, clock) == ["a.txt"]
