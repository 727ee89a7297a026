from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from localchat import paths
from localchat.errors import LocalchatError


@pytest.fixture
def no_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.delenv("LOCALCHAT_HOME")
    for name in ("CONFIG_HOME", "DATA_HOME", "CACHE_HOME", "STATE_HOME", "RUNTIME_DIR"):
        monkeypatch.delenv(f"XDG_{name}", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def mode(folder: Path) -> int:
    return stat.S_IMODE(folder.stat().st_mode)


def test_localchat_home_holds_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCALCHAT_HOME", "/some/where")
    found = paths.find()
    assert found.config_file == Path("/some/where/config.toml")
    assert found.models == Path("/some/where/data/models")
    assert found.logs == Path("/some/where/state/logs")
    assert found.runtime == Path("/some/where/run")


def test_a_relative_home_becomes_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LOCALCHAT_HOME", "here")
    assert paths.find().config == tmp_path / "here"


def test_a_tilde_in_it_is_expanded_if_it_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/users/me")
    monkeypatch.setenv("LOCALCHAT_HOME", "~/chat")
    assert paths.find().config == Path("/users/me/chat")
    monkeypatch.setenv("LOCALCHAT_HOME", "~nobody-of-this-name/chat")
    assert paths.find().config.name == "chat"


def test_asking_creates_nothing(no_home: Path) -> None:
    paths.find()
    assert list(no_home.iterdir()) == []


def test_the_session_folder_is_used_only_where_it_exists(
    no_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = no_home / "s"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(session))
    monkeypatch.setenv("XDG_CACHE_HOME", "/c")
    assert paths.find().runtime == Path("/c/localchat/run")
    session.mkdir()
    monkeypatch.setattr(paths, "_LONGEST_RUNTIME_PATH", 1000)
    assert paths.find().runtime == session / "localchat"


def test_a_runtime_path_too_long_for_a_socket_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for name in ("a" * 200, "é" * 60, "b" * 200, "a" * 200):
        monkeypatch.setenv("LOCALCHAT_HOME", f"/{name}")
        found.append(paths.find().runtime)
    assert all(len(os.fsencode(runtime)) <= 78 for runtime in found)
    assert found[0] == found[3]
    assert len(set(found)) == 3


@pytest.mark.parametrize("umask", [0, 0o077, 0o777])
def test_a_private_folder_is_private_under_any_umask(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        folder = paths.make_private(tmp_path / "private")
    finally:
        os.umask(before)
    assert mode(folder) == 0o700


def test_a_folder_that_is_too_open_is_closed(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o755)
    assert mode(paths.make_private(folder)) == 0o700


def test_a_link_is_refused(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    with pytest.raises(LocalchatError, match="not a folder of yours"):
        paths.make_private(link)


def test_somebody_elses_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: 12345)
    with pytest.raises(LocalchatError, match="not a folder of yours"):
        paths.make_private(folder)


def test_what_stands_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "folder"):
        with pytest.raises(LocalchatError, match=r"can't be created|not a folder of yours"):
            paths.make_private(folder)
