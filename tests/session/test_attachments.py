from __future__ import annotations

import os
from pathlib import Path

import pytest

from localchat.errors import InputError
from localchat.session.attachments import fenced, read_file, together


def test_a_file_stands_under_its_name_between_fences() -> None:
    assert fenced("a.py", "x = 1\n") == "a.py:\n```\nx = 1\n```"


def test_fences_are_longer_than_any_in_the_file() -> None:
    assert fenced("a.md", "```\ncode\n````\n") == "a.md:\n`````\n```\ncode\n````\n`````"


def test_together_leaves_out_what_is_empty() -> None:
    assert together(["a", "", "b"]) == "a\n\nb"


def test_marks_of_byte_order_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbftext")
    assert read_file(path) == "text"


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(b"ab\xff")
    with pytest.raises(InputError, match=r"a\.bin is not UTF-8 text: byte 2 is 0xff\."):
        read_file(path)


@pytest.mark.parametrize("at_most", [None, 10])
def test_a_file_that_is_not_there(tmp_path: Path, at_most: int | None) -> None:
    with pytest.raises(InputError, match=r"none\.txt can't be read: No such file or directory\."):
        read_file(tmp_path / "none.txt", at_most)


def test_a_file_above_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * (3 << 20))
    with pytest.raises(InputError, match=r"too large: it has 3\.0 MiB, and 2 MiB is the most"):
        read_file(path, 2 << 20)
    assert len(read_file(path, 3 << 20)) == 3 << 20


def test_folders_and_pipes_are_refused_where_there_is_a_limit(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder\."):
        read_file(tmp_path, 10)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"pipe is not a file\."):
        read_file(tmp_path / "pipe", 10)
