from __future__ import annotations

from pathlib import Path

import pytest

from localchat.engine import saved
from localchat.engine.saved import Saved, SavedStates
from localchat.engine.snapshots import SnapshotStore

KEY = "00" * 32


def test_the_longest_checkpoint_that_begins_the_prompt_is_found() -> None:
    states = SavedStates(None, is_whole=True)
    for tokens in ([1], [1, 2, 3], [1, 2], [1, 9]):
        states.checkpoint(tokens, bytes(tokens))
    assert states.find([1, 2, 3, 4], 0) == Saved([1, 2, 3], b"\1\2\3", 3)
    assert states.find([1, 2, 3], 2) == Saved([1, 2, 3], b"\1\2\3", 3)
    assert states.find([1, 2, 4], 1) == Saved([1, 2], b"\1\2", 2)


def test_a_checkpoint_no_longer_than_what_is_there_is_of_no_use() -> None:
    states = SavedStates(None, is_whole=True)
    states.checkpoint([1, 2], b"state")
    assert states.find([1, 2, 3], 2) is None
    assert states.find([2, 1], 0) is None


def test_checkpoints_unused_for_longest_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "_CHECKPOINT_BYTES", 10)
    states = SavedStates(None, is_whole=True)
    states.checkpoint([1], b"12345")
    states.checkpoint([2], b"12345")
    assert states.find([1, 0], 0)  # used again
    states.checkpoint([3], b"12345")
    assert states.find([2, 0], 0) is None
    assert states.find([1, 0], 0)
    assert states.find([3, 0], 0)


def test_a_checkpoint_made_again_counts_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "_CHECKPOINT_BYTES", 10)
    states = SavedStates(None, is_whole=True)
    for _ in range(5):
        states.checkpoint([1], b"12345")
    states.checkpoint([2], b"12345")
    found = states.find([1, 0], 0)
    assert found is not None
    assert found.state == b"12345"


def test_one_larger_than_all_may_be_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved, "_CHECKPOINT_BYTES", 10)
    states = SavedStates(None, is_whole=True)
    states.checkpoint([1], bytes(11))
    assert states.find([1, 0], 0) is None


def store(folder: Path) -> SnapshotStore:
    return SnapshotStore(folder, KEY, 2**20)


def test_a_snapshot_that_goes_another_way_is_good_up_to_there(tmp_path: Path) -> None:
    store(tmp_path).write([1, 2, 3, 4], b"state")
    states = SavedStates(store(tmp_path), is_whole=False)
    assert states.find([1, 2, 9], 1) == Saved([1, 2, 3, 4], b"state", 2)
    assert states.find([1, 2, 9], 2) is None


def test_a_state_that_can_not_be_cut_must_fit_whole(tmp_path: Path) -> None:
    store(tmp_path).write([1, 2, 3, 4], b"state")
    states = SavedStates(store(tmp_path), is_whole=True)
    assert states.find([1, 2, 9], 0) is None
    assert states.find([1, 2, 3, 4, 5], 0) == Saved([1, 2, 3, 4], b"state", 4)


def test_a_damaged_snapshot_is_passed_over_for_the_next_best(tmp_path: Path) -> None:
    store(tmp_path).write([1, 2], b"shorter")
    store(tmp_path).write([1, 2, 3], b"longer!")
    states = SavedStates(store(tmp_path), is_whole=False)
    for file in tmp_path.iterdir():
        content = file.read_bytes()
        if content.endswith(b"longer!"):
            file.write_bytes(content[:-1] + b"?")
    assert states.find([1, 2, 3, 4], 0) == Saved([1, 2], b"shorter", 2)
    assert states.find([1, 2, 3, 4], 2) is None


def test_an_empty_prompt_finds_nothing(tmp_path: Path) -> None:
    store(tmp_path).write([1], b"state")
    assert SavedStates(store(tmp_path), is_whole=False).find([], 0) is None
