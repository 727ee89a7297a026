from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from localchat.errors import LocalchatError
from localchat.host import endpoint
from localchat.host.endpoint import Endpoint, is_same_user


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Path]:
    umask = os.umask(0)
    yield tmp_path / "run"
    os.umask(umask)


@pytest.fixture(params=["unix", "tcp"])
def here(
    request: pytest.FixtureRequest, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> Endpoint:
    monkeypatch.setattr(endpoint, "_HAS_UNIX_SOCKETS", request.param == "unix")
    return Endpoint(runtime, "key")


def test_folder_and_file_are_private_under_any_umask(here: Endpoint) -> None:
    with here.listen()[0]:
        assert mode(here.path.parent) == 0o700
        assert mode(here.path) == 0o600
        assert [path.name for path in here.path.parent.iterdir()] == [here.path.name]


def test_the_file_appears_only_when_connecting_works(
    here: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    replace = Path.replace

    def looking(temporary: Path, target: Path) -> Path:
        seen.append(here.path.exists())
        moved = replace(temporary, target)
        with closing(here.connect() or pytest.fail("nobody listens")):
            return moved

    monkeypatch.setattr(Path, "replace", looking)
    with here.listen()[0]:
        assert seen == [False]


def test_a_stale_file_is_replaced(here: Endpoint) -> None:
    here.listen()[0].close()
    assert here.path.exists()
    assert here.connect() is None
    with here.listen()[0], closing(here.connect() or pytest.fail("nobody listens")):
        pass


def test_without_a_file_nobody_answers(here: Endpoint) -> None:
    assert here.connect() is None
    assert list(Endpoint.all(here.path.parent)) == []
    here.remove()


def test_all_finds_what_listens(here: Endpoint) -> None:
    with here.listen()[0]:
        (here.path.parent / "key.lock").touch()
        assert [found.path for found in Endpoint.all(here.path.parent)] == [here.path]


def test_a_damaged_tcp_file_is_nobody(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "_HAS_UNIX_SOCKETS", False)
    here = Endpoint(runtime, "key")
    runtime.mkdir()
    for content in ("", "{", "{}"):
        here.path.write_text(content)
        assert here.connect() is None


def test_another_users_engine_is_not_trusted(
    runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Endpoint(runtime, "key")
    with here.listen()[0]:
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        with pytest.raises(PermissionError, match="another user"):
            here.connect()


def test_the_other_end_is_asked_for_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = socket.socketpair()
    with one, other:
        assert is_same_user(one)
        monkeypatch.setattr(os, "getuid", lambda: 12345)
        assert not is_same_user(one)


def test_somebody_elses_folder_is_refused(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(LocalchatError, match="not a folder of yours"):
        Endpoint(runtime, "key").listen()
