from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from localchat.errors import (
    LocalchatError,
    ModelLoadFailed,
    ModelNotFound,
    NetworkNeeded,
    UsageError,
    VerificationFailed,
)
from localchat.paths import Paths, make_private
from localchat.registry import installed, resolve
from localchat.registry.files import verify
from localchat.types import ModelRef
from tests.registry.conftest import Sample


@pytest.fixture
def kept(sample: Sample) -> ModelRef:
    """The tiny model, installed."""
    return sample.pull().model


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were hashed."""
    seen: list[Path] = []
    real = verify.sha256

    def spy(path: Path, *rest: Any) -> str:
        seen.append(path)
        return real(path, *rest)

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
    monkeypatch.setattr("localchat.registry.resolve.__version__", "99")
    assert installed.lookup("tiny", sample.places) is None
    assert resolve.resolve("tiny", sample.places).chat_template == "new"
    assert installed.lookup("tiny", sample.places) is not None, "once is enough"


def test_what_the_catalogue_has_dropped_goes_on(
    sample: Sample, kept: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample.write_manifest(name="other")
    (sample.catalog / "tiny.toml").rename(sample.catalog / "other.toml")
    assert resolve.resolve("tiny", sample.places) == kept
    monkeypatch.setattr("localchat.registry.installed.__version__", "99")
    monkeypatch.setattr("localchat.registry.resolve.__version__", "99")
    assert resolve.resolve("tiny", sample.places) == kept


@pytest.mark.parametrize("content", [None, b"{", b"[]"])
def test_a_lock_file_that_is_lost_costs_one_hash(
    sample: Sample, kept: ModelRef, hashed: list[Path], content: bytes | None
) -> None:
    lock = installed.lock_file(sample.places)
    lock.unlink()
    if content is not None:
        lock.write_bytes(content)
    for _ in range(2):
        assert resolve.resolve("wee", sample.places) == kept
        assert hashed == [sample.installed]
    aside = [path.read_bytes() for path in lock.parent.glob("lock.json.damaged-*")]
    assert aside == ([content] if content is not None else [])
    record = installed.find("tiny", sample.places)
    assert record is not None
    assert record.sources == {
        sample.sha256: [source.model_dump(mode="json") for source in sample.file.sources]
    }


@pytest.mark.parametrize("change", [lambda good: good[:-1], lambda good: b"!" + good[1:]])
def test_a_file_that_nobody_recorded_must_be_right(
    sample: Sample, kept: ModelRef, change: Callable[[bytes], bytes]
) -> None:
    installed.lock_file(sample.places).unlink()
    sample.installed.unlink()
    sample.installed.write_bytes(change(sample.content))
    with pytest.raises(ModelNotFound, match="The model tiny is not installed"):
        resolve.resolve("tiny", sample.places)


def test_a_projector_that_nobody_recorded(sample: Sample, places: Paths) -> None:
    def lines(path: str) -> str:
        blob = f'size = {len(path)}\nsha256 = "{sha256(path.encode()).hexdigest()}"'
        return f'{blob}\n[[%s]]\ntype = "hub"\nrepo = "o/r"\nfile = "{path}"'

    sample.add_manifest(
        "seeing",
        'name = "seeing"\nfamily = "See"\nlicence = "MIT"\nparameters = 9\ncontext_length = 64',
        f"[projector]\n{lines('eye.gguf') % 'projector.sources'}",
        f'[[files]]\nquantization = "Q4_0"\n{lines("head.gguf") % "files.sources"}',
    )
    make_private(places.models)
    for content in ("head.gguf", "eye.gguf"):
        installed.location(sha256(content.encode()).hexdigest(), places).write_text(content)
    assert resolve.resolve("seeing", places).sha256 == sha256(b"head.gguf").hexdigest()
    record = installed.find("seeing", places)
    assert record is not None
    assert record.projector is not None
    assert record.projector.sha256 == sha256(b"eye.gguf").hexdigest()
    assert record.sources is not None
    assert len(record.sources) == 2


def test_a_model_that_cannot_be_recorded_is_used_all_the_same(
    sample: Sample, kept: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    installed.lock_file(sample.places).unlink()
    monkeypatch.setattr(installed, "record", full)
    assert resolve.resolve("tiny", sample.places) == kept
    assert installed.find("tiny", sample.places) is None


def test_names_that_nothing_can_be_installed_as(sample: Sample) -> None:
    for name in ("", "\0", "..", "-x", "\x1b[2J"):
        with pytest.raises(ModelNotFound) as caught:
            resolve.resolve(name, sample.places)
        assert str(caught.value).isprintable()
    with pytest.raises(UsageError, match="is no name of a model on the hub"):
        resolve.resolve("hf:../..", sample.places)
    with pytest.raises(ModelNotFound, match="is not installed") as caught:
        resolve.resolve("https://example.org/a.gguf", sample.places)
    assert caught.value.hint == "localchat pull https://example.org/a.gguf"


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
        assert caught.value.hint == "localchat models repair tiny"
    with pytest.raises(NetworkNeeded):
        sample.pull(offline=True)
    assert sample.installed.read_bytes() == damaged

    assert sample.pull().model == kept
    assert sample.installed.read_bytes() == sample.content
    assert resolve.resolve("tiny", sample.places) == kept


def test_a_file_put_in_its_place_is_hashed(
    sample: Sample, kept: ModelRef, hashed: list[Path]
) -> None:
    before = sample.installed.stat()
    other = sample.folder / "other"
    for content, is_right in ((sample.content, True), (b"!" + sample.content[1:], False)):
        other.write_bytes(content)
        os.utime(other, ns=(0, before.st_mtime_ns))
        other.replace(sample.installed)
        hashed.clear()
        if is_right:
            assert resolve.resolve("tiny", sample.places) == kept
        else:
            with pytest.raises(VerificationFailed, match="has changed since it was installed"):
                resolve.resolve("tiny", sample.places)
        assert hashed == [sample.installed]


def test_a_shorter_file_is_refused_unread(
    sample: Sample, kept: ModelRef, hashed: list[Path]
) -> None:
    before = sample.installed.stat().st_mtime_ns
    sample.installed.chmod(0o644)
    os.truncate(sample.installed, len(sample.content) - 1)
    os.utime(sample.installed, ns=(0, before))
    with pytest.raises(VerificationFailed, match="has changed since it was installed"):
        resolve.resolve("tiny", sample.places)
    assert hashed == []


def test_a_file_that_is_gone(sample: Sample, kept: ModelRef) -> None:
    sample.installed.unlink()
    with pytest.raises(ModelNotFound, match=f"is gone: {sample.installed}") as caught:
        resolve.resolve("wee", sample.places)
    assert caught.value.hint == "localchat pull tiny"


def test_a_write_while_hashing_is_not_missed(
    sample: Sample, kept: ModelRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = verify.sha256

    def damage_afterwards(path: Path, *rest: Any) -> str:
        digest = real(path, *rest)
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
    def refuse(*_: Any) -> str:
        raise PermissionError(13, "Permission denied")

    os.utime(sample.installed, ns=(0, 0))
    monkeypatch.setattr(verify, "sha256", refuse)
    with pytest.raises(ModelLoadFailed, match="can't be read: Permission denied"):
        resolve.resolve("tiny", sample.places)


def test_a_path(tmp_path: Path, places: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tmp_path / "My Model.GGUF"
    model.write_bytes(b"GGUF and more")
    (tmp_path / "link").symlink_to(model)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for given in ("My Model.GGUF", "./link", str(model), "~/link"):
        assert resolve.resolve(given, places) == ModelRef(name=given, path=str(model.resolve()))


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
