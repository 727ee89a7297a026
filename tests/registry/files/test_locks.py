"""One process at a time works on a file, and nobody clears up while files come in."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from localchat.registry.files import locks

HOLDER = """
import sys, time
from pathlib import Path
from localchat.registry.files import locks
with getattr(locks, sys.argv[1])(Path(sys.argv[2])):
    print("held", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(kind: str, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a lock, or is about to."""
    command = [sys.executable, "-c", HOLDER, kind, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"


def is_free(target: Path) -> bool:
    try:
        with locks.held(target):
            return True
    except BlockingIOError:
        return False


def is_quiet(folder: Path) -> bool:
    with locks.quiet(folder) as found:
        return found


def test_a_lock_goes_with_its_process(tmp_path: Path) -> None:
    target = tmp_path / "file.gguf"
    with holder("held", target) as process:
        wait_for(process)
        assert not is_free(target)
        assert is_free(tmp_path / "another.gguf")
        process.send_signal(signal.SIGKILL)
    assert is_free(target)
    assert [path.name for path in tmp_path.glob("file*")] == ["file.lock"]


def test_who_waits_is_asked_again_and_again(tmp_path: Path) -> None:
    target = tmp_path / "file.gguf"
    asked = 0
    with holder("held", target) as process:
        wait_for(process)

        def waiting() -> None:
            nonlocal asked
            asked += 1
            if asked == 2:
                process.kill()
                process.wait()

        with locks.held(target, waiting):
            assert not is_free(target)
    assert asked >= 2


def test_ctrl_c_ends_a_wait(tmp_path: Path) -> None:
    target = tmp_path / "file.gguf"

    def waiting() -> None:
        raise KeyboardInterrupt

    with holder("held", target) as process:
        wait_for(process)
        with pytest.raises(KeyboardInterrupt), locks.held(target, waiting):
            pass


def test_a_lock_that_was_removed_with_its_model_is_nobodys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "file.gguf"
    opened = locks._open
    lost: list[Path] = []

    def open_too_early(path: Path) -> int:
        descriptor = opened(path)
        if not lost:
            lost.append(path)
            path.unlink()
        return descriptor

    monkeypatch.setattr(locks, "_open", open_too_early)
    with locks.held(target):
        assert lost
        assert not is_free(target)


def test_no_file_handle_is_left(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    target = tmp_path / "file.gguf"
    with locks.held(target):
        assert not is_free(target)
    with locks.incoming(tmp_path):
        assert not is_quiet(tmp_path)
    assert is_quiet(tmp_path)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_any_number_of_files_come_in_at_once(tmp_path: Path) -> None:
    assert is_quiet(tmp_path)
    with locks.incoming(tmp_path):
        with holder("incoming", tmp_path) as process:
            wait_for(process)
            assert not is_quiet(tmp_path)
        assert not is_quiet(tmp_path)
    assert is_quiet(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_comes_in_while_somebody_clears_up(tmp_path: Path) -> None:
    with locks.quiet(tmp_path) as found:
        assert found
        descriptor = os.open(tmp_path, os.O_RDONLY)
        with pytest.raises(BlockingIOError):
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        os.close(descriptor)
    with holder("incoming", tmp_path) as process:
        wait_for(process)


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    target = tmp_path / "file.gguf"
    target.with_suffix(".lock").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"), locks.held(target):
        pass
    assert not (tmp_path / "elsewhere").exists()
