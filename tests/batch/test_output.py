"""What is left of an output that could not be written."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from localchat.errors import OutOfSpace
from tests.batch import Engine, answered, batch, begin

pytestmark = pytest.mark.usefixtures("home")


@pytest.mark.parametrize("in_order", [True, False])
def test_a_write_that_fails_leaves_the_old_output_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_order: bool
) -> None:
    table, out = tmp_path / "in.csv", tmp_path / "out.csv"
    table.write_text("text\none\n")
    batch(table, out)
    before = out.read_text()
    table.write_text("text\none\ntwo\n")
    run = begin(table, out, Engine(), in_order=in_order)

    def fail(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("localchat.batch.output.os.fsync", fail)
        with pytest.raises(OutOfSpace, match="All rows that were finished before are safe"):
            answered(run)
    assert out.read_text() == before
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "in.csv",
        "out.csv",
    ]
    batch(table, out, in_order=in_order)
    assert "two,<two>," in out.read_text()
