"""Files that other programs keep on this machine: used where they lie, never fetched again."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from localchat.errors import ModelNotFound, NetworkNeeded
from localchat.registry import installed, resolve
from localchat.registry.files import elsewhere
from tests.registry.conftest import Sample

CONTENT = b"GGUF of another program"
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _only_these_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not those of whoever runs the tests."""
    monkeypatch.setenv("HOME", str(tmp_path / "somebody"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("HUGGINGFACE_HUB_CACHE", raising=False)
    monkeypatch.delenv("OLLAMA_MODELS", raising=False)


def in_hub_cache(folder: Path, content: bytes = CONTENT, digest: str = DIGEST) -> Path:
    """A file as the hub's own library keeps it; the path of its blob."""
    blob = folder / "models--Maker--Model" / "blobs" / digest
    blob.parent.mkdir(parents=True)
    blob.write_bytes(content)
    snapshot = folder / "models--Maker--Model" / "snapshots" / "1" / "m.gguf"
    snapshot.parent.mkdir(parents=True)
    snapshot.symlink_to(f"../../blobs/{digest}")
    return blob


def in_ollama_store(folder: Path, content: bytes = CONTENT, digest: str = DIGEST) -> Path:
    blob = folder / "blobs" / f"sha256-{digest}"
    blob.parent.mkdir(parents=True)
    blob.write_bytes(content)
    return blob


@pytest.mark.parametrize(
    ("variable", "value", "place"),
    [
        ("HF_HUB_CACHE", "{}/cache", "{}/cache"),
        ("HUGGINGFACE_HUB_CACHE", "{}/cache", "{}/cache"),
        ("HF_HOME", "{}/hf", "{}/hf/hub"),
        ("XDG_CACHE_HOME", "{}/xdg", "{}/xdg/huggingface/hub"),
        ("HOME", "{}/somebody", "{}/somebody/.cache/huggingface/hub"),
        ("HF_HOME", "~/hf", "{}/somebody/hf/hub"),
    ],
)
def test_the_hub_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, value: str, place: str
) -> None:
    blob = in_hub_cache(Path(place.format(tmp_path)))
    if variable != "HOME":
        assert elsewhere.find(DIGEST, len(CONTENT)) is None
    monkeypatch.setenv(variable, value.format(tmp_path))
    assert elsewhere.find(DIGEST, len(CONTENT)) == blob


def test_the_more_exact_variable_is_the_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_hub_cache(tmp_path / "hf" / "hub")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    assert elsewhere.find(DIGEST, len(CONTENT)) is not None
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "other"))
    assert elsewhere.find(DIGEST, len(CONTENT)) is None


def test_the_ollama_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blob = in_ollama_store(tmp_path / "somebody" / ".ollama" / "models")
    assert elsewhere.find(DIGEST, len(CONTENT)) == blob
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
    assert elsewhere.find(DIGEST, len(CONTENT)) is None, "that store is in use instead"
    blob = in_ollama_store(tmp_path / "store")
    assert elsewhere.find(DIGEST, len(CONTENT)) == blob


def test_nothing_is_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
    blob = in_ollama_store(tmp_path / "store", CONTENT[:-1] + b"!")
    assert elsewhere.find(DIGEST, len(CONTENT)) is None, "other bytes"
    blob.write_bytes(CONTENT)
    assert elsewhere.find(DIGEST, len(CONTENT) - 1) is None, "another size"
    assert elsewhere.find(DIGEST, len(CONTENT)) == blob
    blob.unlink()
    blob.mkdir()
    assert elsewhere.find(DIGEST, len(CONTENT)) is None
    blob.rmdir()
    blob.symlink_to("nowhere")
    assert elsewhere.find(DIGEST, len(CONTENT)) is None


def test_another_users_file_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    in_hub_cache(tmp_path / "cache")
    mine = in_ollama_store(tmp_path / "store")
    real_open = Path.open

    def refuse(path: Path, *rest: object, **named: object) -> object:
        if "cache" in path.parts:
            raise PermissionError(13, "Permission denied")
        return real_open(path, *rest, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuse)
    assert elsewhere.find(DIGEST, len(CONTENT)) == mine


def test_there_is_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def homeless(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", homeless)
    assert elsewhere.find(DIGEST, len(CONTENT)) is None


# A pull that finds its file there


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize("program", ["hub", "ollama"])
def test_it_is_linked_not_downloaded(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool, program: str
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
    monkeypatch.setattr("localchat.registry.download.fetch", None)
    keep = in_hub_cache if program == "hub" else in_ollama_store
    blob = keep(
        tmp_path / ("cache" if program == "hub" else "store"), sample.content, sample.sha256
    )
    blob.chmod(0o640)
    pulled = sample.pull(offline=offline)
    assert pulled.served == (str(blob),)
    assert pulled.record.served == str(blob)
    assert sample.installed.is_symlink()
    assert sample.installed.resolve() == blob
    assert Path(pulled.model.path) == sample.installed
    assert blob.stat().st_mode & 0o777 == 0o640, "it stays as its owner has it"
    assert sample.watcher.notes == [f"Using {blob}, where it lies: nothing has to be downloaded."]
    assert resolve.resolve("tiny", sample.places) == pulled.model
    assert sample.pull(offline=offline).served == ()


def test_wrong_bytes_are_not_used(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
    in_ollama_store(tmp_path / "store", sample.content[:-1] + b"!", sample.sha256)
    with pytest.raises(NetworkNeeded):
        sample.pull(offline=True)
    assert not sample.installed.is_symlink()
    assert sample.pull().served == ("tiny-part1 1.0 and 1 more",)
    assert sample.installed.read_bytes() == sample.content
    assert not sample.installed.is_symlink()


def test_bytes_that_change_while_they_are_taken_in_are_not_used(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other"
    other.write_bytes(sample.content[:-1] + b"!")
    monkeypatch.setattr(elsewhere, "find", lambda *_: other)
    with pytest.raises(NetworkNeeded):
        sample.pull(offline=True)
    assert sample.pull().served == ("tiny-part1 1.0 and 1 more",)
    assert sample.watcher.notes == []
    assert sample.installed.read_bytes() == sample.content


def test_a_damaged_file_of_ours_gives_way(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample.pull()
    sample.installed.chmod(0o600)
    sample.installed.write_bytes(sample.content[:-1] + b"!")
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
    blob = in_ollama_store(tmp_path / "store", sample.content, sample.sha256)
    sample.pull(offline=True)
    assert sample.installed.resolve() == blob
    assert resolve.resolve("tiny", sample.places).path == str(sample.installed)


def test_the_owner_takes_it_away(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OLLAMA_MODELS", str(tmp_path / "store"))
    blob = in_ollama_store(tmp_path / "store", sample.content, sample.sha256)
    kept = sample.pull(offline=True).model
    blob.unlink()
    assert installed.lookup("tiny", sample.places) is None
    with pytest.raises(ModelNotFound, match=f"is gone: {blob}") as caught:
        resolve.resolve("tiny", sample.places)
    assert caught.value.hint == "localchat pull tiny"
    assert sample.pull().model == kept
    assert not sample.installed.is_symlink()
    assert sample.installed.read_bytes() == sample.content
