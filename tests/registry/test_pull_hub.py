"""What is pulled from the hub, or from an address, here of a hub on this machine."""

from __future__ import annotations

import functools
from hashlib import sha256
from pathlib import Path

import gguf as gguf_writer
import pytest

from localchat import gguf
from localchat.errors import (
    ModelNotFound,
    NetworkNeeded,
    UsageError,
    VerificationFailed,
)
from localchat.host import check
from localchat.paths import Paths
from localchat.registry import installed, pull, resolve
from localchat.registry.pull import Pulled
from tests import tiny_models
from tests.conftest import Quiet
from tests.registry.conftest import Sample
from tests.registry.faults import Fault, Kind
from tests.registry.hub import Hub

REPO = "Maker/Model-GGUF"
FILE = "m-Q4_K_M.gguf"


# A model that the catalogue leaves open


def open_model(sample: Sample, revision: str = "main") -> None:
    sample.add_manifest(
        "open",
        'name = "open"\nfamily = "Open"\nlicence = "MIT"\nparameters = 9\ncontext_length = 64',
        '[[files]]\nquantization = "Q4_K_M"\n[[files.sources]]\ntype = "hub"',
        f'repo = "{REPO}"\nfile = "{FILE}"\nrevision = "{revision}"',
    )


def test_the_hub_says_what_the_catalogue_leaves_open(sample: Sample, at_hub: Hub) -> None:
    open_model(sample)
    digest = at_hub.add(REPO, FILE, b"GGUF one")
    pulled = sample.pull("open")
    assert Path(pulled.model.path).read_bytes() == b"GGUF one"
    assert sample.watcher.notes[0] == (
        f"{FILE} is not pinned by the catalogue: its sha256 is what the hub says, {digest}."
        " It is kept in the lock file."
    )
    commit = at_hub.commit(REPO)
    assert pulled.served == (f"hf:{REPO}/{FILE}@{commit}",)
    known = sample.record("open")
    assert (known.sha256, known.is_pinned, known.origin) == (digest, False, "catalogue")
    source = {"type": "hub", "repo": REPO, "file": FILE, "revision": commit}
    assert known.sources == {digest: [source]}
    assert resolve.resolve("open", sample.places) == pulled.model


def test_a_second_pull_says_when_the_hub_has_another_file(sample: Sample, at_hub: Hub) -> None:
    open_model(sample)
    old = at_hub.add(REPO, FILE, b"GGUF one")
    sample.pull("open")
    notes = sample.watcher.notes
    said = f"open is another file than before: its sha256 was {old}."

    notes.clear()
    assert sample.pull("open").served == ()
    assert said not in notes

    new = at_hub.add(REPO, FILE, b"GGUF two")
    assert resolve.resolve("open", sample.places).sha256 == old
    assert sample.pull("open", offline=True).model.sha256 == old
    assert said not in notes
    assert sample.pull("open").model.sha256 == new
    assert said in notes
    assert resolve.resolve("open", sample.places).sha256 == new


def test_offline_the_lock_file_says_what_the_catalogue_leaves_open(
    sample: Sample, at_hub: Hub
) -> None:
    open_model(sample)
    at_hub.add(REPO, FILE, b"GGUF one")
    with pytest.raises(NetworkNeeded, match="localchat is offline"):
        sample.pull("open", offline=True)
    assert at_hub.requests == []
    kept = sample.pull("open")
    at_hub.requests.clear()
    assert sample.pull("open", offline=True).model == kept.model
    Path(kept.model.path).unlink()
    with pytest.raises(NetworkNeeded, match="localchat is offline"):
        sample.pull("open", offline=True)
    assert at_hub.requests == []


def test_a_model_that_nobody_gives_a_digest_is_refused(sample: Sample, at_hub: Hub) -> None:
    open_model(sample)
    at_hub.add(REPO, FILE, b"GGUF one")
    at_hub.schedule_metadata(Fault(Kind.ETAG, value="not-a-digest"))
    with pytest.raises(VerificationFailed, match="gives no digest"):
        sample.pull("open")
    assert at_hub.sent == {}


# A model of the hub


@pytest.mark.parametrize("typed", [REPO, f"{REPO}:q4_k_m", f"hf:{REPO}/{FILE}"])
def test_a_model_of_the_hub(sample: Sample, at_hub: Hub, typed: str) -> None:
    digest = at_hub.add(REPO, FILE, b"GGUF one")
    at_hub.add(REPO, "m-Q8_0.gguf", b"GGUF large")
    with pytest.raises(ModelNotFound, match="is not installed") as caught:
        resolve.resolve(typed, sample.places)
    assert caught.value.hint == f"localchat pull {typed}"

    pulled = sample.pull(typed)
    assert pulled.served == (f"hf:{REPO}/{FILE}@{at_hub.commit(REPO)}",)
    assert Path(pulled.model.path).read_bytes() == b"GGUF one"
    assert (pulled.record.sha256, pulled.record.is_pinned) == (digest, False)
    assert at_hub.sent.keys() == {FILE}
    at_hub.requests.clear()
    for name in (typed, typed.upper(), f"hf:{REPO}/{FILE}", pulled.model.name):
        assert resolve.resolve(name, sample.places) == pulled.model
    assert at_hub.requests == []


def test_the_hub_moves_on_and_a_pull_says_so(sample: Sample, at_hub: Hub) -> None:
    old = at_hub.add(REPO, FILE, b"GGUF one")
    sample.pull(REPO)
    new = at_hub.add(REPO, FILE, b"GGUF two")
    assert resolve.resolve(REPO, sample.places).sha256 == old
    assert sample.pull(REPO).model.sha256 == new
    said = f"{REPO}:Q4_K_M is another file than before: its sha256 was {old}."
    assert said in sample.watcher.notes


def test_offline_a_model_of_the_hub_is_what_it_was(sample: Sample, at_hub: Hub) -> None:
    at_hub.add(REPO, FILE, b"GGUF one")
    at_hub.add(REPO, "mmproj-F16.gguf", b"GGUF eye")
    with pytest.raises(NetworkNeeded, match="localchat is offline"):
        sample.pull(REPO, offline=True)
    kept = sample.pull(REPO)
    at_hub.requests.clear()
    again = sample.pull(REPO, offline=True)
    assert again.record == kept.record
    assert at_hub.requests == []


def test_a_file_with_its_projector(sample: Sample, at_hub: Hub) -> None:
    at_hub.add(REPO, FILE, b"GGUF one")
    eye = at_hub.add(REPO, "mmproj-F16.gguf", b"GGUF eye")
    pulled = sample.pull(REPO)
    assert pulled.record.projector is not None
    assert pulled.record.projector.sha256 == eye
    assert len(pulled.record.parts) == 1
    assert installed.location(eye, sample.places).read_bytes() == b"GGUF eye"
    # What sees for the model is looked at before it is used, like the model.
    installed.location(eye, sample.places).chmod(0o644)
    installed.location(eye, sample.places).write_bytes(b"GGUF lye")
    with pytest.raises(VerificationFailed, match="has changed"):
        resolve.resolve(REPO, sample.places)


def test_an_address_of_the_hubs_pages(sample: Sample, at_hub: Hub) -> None:
    at_hub.add(REPO, FILE, b"GGUF one")
    page = f"{at_hub.url}/{REPO}/blob/main/{FILE}?download=true"
    with pytest.raises(ModelNotFound, match="is not installed"):
        resolve.resolve(page, sample.places)
    pulled = sample.pull(page)
    assert pulled.model.name == f"hf:{REPO}/{FILE}"
    assert resolve.resolve(page, sample.places) == pulled.model
    assert sample.pull(page, offline=True).model == pulled.model


# An address


def by_address(sample: Sample, url: str, digest: str | None) -> Pulled:
    return pull.pull(url, sample.places, offline=False, watcher=sample.watcher, sha256=digest)


def test_an_address(sample: Sample, hub: Hub) -> None:
    digest = hub.add(REPO, FILE, b"GGUF one")
    url = hub.location(REPO, FILE)
    with pytest.raises(UsageError, match="does not say which bytes are right"):
        by_address(sample, url, None)
    with pytest.raises(VerificationFailed):
        by_address(sample, url, "0" * 64)
    pulled = by_address(sample, url, digest.upper())
    assert (pulled.model.name, pulled.served) == ("m-q4_k_m", (url,))
    assert Path(pulled.model.path).read_bytes() == b"GGUF one"
    assert pulled.record.origin == "url"
    for name in ("M-Q4_K_M", url):
        assert resolve.resolve(name, sample.places) == pulled.model
        assert sample.pull(name, offline=True).model == pulled.model


def test_an_address_takes_nobodys_name(sample: Sample, hub: Hub) -> None:
    kept = sample.pull().model
    url, digest = hub.location(REPO, "tiny.gguf"), hub.add(REPO, "tiny.gguf", b"GGUF one")
    assert by_address(sample, url, digest).model.name == url
    assert resolve.resolve("tiny", sample.places) == kept
    assert resolve.resolve(url, sample.places).sha256 == digest

    for repo in (REPO, "Other/Model"):
        hub.add(repo, "x.gguf", repo.encode())
    first = by_address(sample, hub.location(REPO, "x.gguf"), sha256(REPO.encode()).hexdigest())
    other = hub.location("Other/Model", "x.gguf")
    second = by_address(sample, other, sha256(b"Other/Model").hexdigest())
    assert (first.model.name, second.model.name) == ("x", other)
    assert resolve.resolve("x", sample.places) == first.model


# Split models


def test_a_split_model_is_laid_out_and_loads(
    places: Paths, at_hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_parts = functools.partial(gguf_writer.GGUFWriter, split_max_tensors=8)
    monkeypatch.setattr(gguf_writer, "GGUFWriter", in_parts)
    tiny_models.write_tiny_model(tmp_path / "odd name-F32.gguf", "llama")
    pieces = sorted(tmp_path.glob("odd name-F32-*-of-*.gguf"))
    assert len(pieces) >= 3
    for piece in pieces:
        at_hub.add(REPO, f"parts/{piece.name}", piece)
    watcher = Quiet()
    pulled = pull.pull(f"{REPO}:f32", places, offline=False, watcher=watcher)
    assert not [note for note in watcher.notes if note.startswith("Note:")]
    assert [part.sha256 for part in pulled.record.parts] == [
        sha256(piece.read_bytes()).hexdigest() for piece in pieces
    ]

    first = Path(pulled.model.path)
    parts = gguf.parts(first)
    assert [part.name for part in parts] == [
        f"model-{number:05}-of-{len(pieces):05}.gguf" for number in range(1, len(pieces) + 1)
    ]
    assert [part.read_bytes() for part in parts] == [piece.read_bytes() for piece in pieces]
    assert check.check(first).kind == "ok"
    assert resolve.resolve(REPO + ":F32", places) == pulled.model

    # The names are only links: they are made again where somebody took them away.
    for part in parts:
        part.unlink()
        assert resolve.resolve(REPO + ":F32", places) == pulled.model
        assert part.is_file()
    assert pull.pull(f"{REPO}:f32", places, offline=True, watcher=watcher).model == pulled.model

    installed.location(pulled.record.parts[1].sha256, places).unlink()
    with pytest.raises(ModelNotFound, match="is gone"):
        resolve.resolve(REPO + ":F32", places)
