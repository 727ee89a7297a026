from __future__ import annotations

import datetime
import functools
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import gguf as gguf_writer
import pytest

from localchat import gguf
from localchat.errors import (
    LocalchatError,
    ModelNotFound,
    NetworkNeeded,
    UsageError,
    VerificationFailed,
)
from localchat.host import check
from localchat.paths import Paths, make_private
from localchat.registry import catalog, download, installed, pull, resolve, verify
from localchat.registry.installed import Record
from localchat.registry.manifest import Blob
from localchat.registry.pull import Pulled
from tests import tiny_models
from tests.conftest import Quiet

from .conftest import Sample
from .hub import Hub

REPO = "Maker/Model-GGUF"
FILE = "m-Q4_K_M.gguf"


@pytest.fixture
def at_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    """The hub that names mean."""
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    return hub


@pytest.fixture
def no_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise AssertionError("something was downloaded")

    monkeypatch.setattr(download, "fetch", refuse)


def record(name: str, sample: Sample) -> Record:
    found = installed.find(name, sample.places)
    assert found is not None
    return found


def written(name: str) -> Any:
    """What is recorded of where the files come from."""
    blob = catalog.find(name).file
    return {blob.sha256: [source.model_dump(mode="json") for source in blob.sources]}


# A model of the catalogue


def test_what_is_recorded(sample: Sample) -> None:
    pulled = sample.pull("WEE")
    assert pulled.served == ("tiny-part1 1.0, tiny-part2 1.0",)
    assert pulled.record == record("tiny", sample)
    assert pulled.record == Record(
        name="tiny",
        keys=("tiny", "wee", "tiny:q4_0", "wee:q4_0"),
        parts=(installed.Part(sample.sha256, verify.stamp(sample.installed)),),
        quantization="Q4_0",
        origin="catalogue",
        sources=written("tiny"),
        served=pulled.served[0],
        is_pinned=True,
        when=datetime.date.today().isoformat(),
        licence="CC0-1.0",
        chat_template="{{ messages }}",
        sampling=(("top_k", 3), ("temperature", 0.5)),
    )
    assert resolve.resolve("tiny", sample.places) == pulled.model
    assert sample.watcher.notes == []


def test_a_second_pull_serves_nothing(sample: Sample) -> None:
    first = sample.pull()
    again = sample.pull()
    assert (again.served, again.record) == ((), first.record)
    assert sample.watcher.notes == []


def test_without_a_network(sample: Sample, request: pytest.FixtureRequest) -> None:
    with pytest.raises(NetworkNeeded, match="has to be downloaded") as caught:
        sample.pull(offline=True)
    assert caught.value.hint == "localchat pull tiny (with offline mode off)"
    found = sample.pull()
    request.getfixturevalue("no_fetch")
    assert sample.pull(offline=True).model == sample.pull().model == found.model


def test_a_failed_pull_says_what_to_type_next(sample: Sample) -> None:
    for wheel in sample.wheels.iterdir():
        wheel.unlink()
    with pytest.raises(NetworkNeeded) as caught:
        sample.pull("wee")
    assert caught.value.hint == "localchat pull tiny"
    assert installed.find("tiny", sample.places) is None


def test_an_unknown_model(sample: Sample) -> None:
    with pytest.raises(ModelNotFound, match="Did you mean tiny"):
        sample.pull("tinny")


@pytest.mark.parametrize("name", ["./tiny.gguf", "tiny.gguf", "/tiny", "a/../b"])
def test_a_path_is_nothing_to_pull(sample: Sample, name: str) -> None:
    with pytest.raises(ModelNotFound, match="names a file of this machine"):
        sample.pull(name)


def test_an_alias(sample: Sample) -> None:
    installed.set_alias("mine", "wee", sample.places)
    assert sample.pull("Mine").model.name == "tiny"
    assert resolve.resolve("mine", sample.places).name == "tiny"


def test_a_changed_manifest_is_taken_over(sample: Sample, no_fetch: None) -> None:
    make_private(sample.places.models)
    sample.installed.write_bytes(sample.content)
    assert sample.pull().model.chat_template == "{{ messages }}"
    sample.write_manifest(chat_template="new")
    assert resolve.resolve("tiny", sample.places).chat_template == "{{ messages }}"
    assert sample.pull(offline=True).model.chat_template == "new"
    assert resolve.resolve("tiny", sample.places).chat_template == "new"


def test_damage_that_no_stamp_shows(sample: Sample) -> None:
    kept = sample.pull().model
    before = sample.installed.stat().st_mtime_ns
    sample.installed.chmod(0o644)
    with sample.installed.open("r+b") as file:
        file.write(b"!")
    os.utime(sample.installed, ns=(0, before))
    assert resolve.resolve("tiny", sample.places) == kept, "a stamp is all a warm start looks at"
    sample.pull()
    assert sample.installed.read_bytes() == sample.content


def test_the_progress_is_of_all_files(sample: Sample, at_hub: Hub) -> None:
    weights, projector = bytes(300_000), bytes(range(100)) * 1000
    at_hub.add(REPO, FILE, weights)
    at_hub.add(REPO, "mmproj-F16.gguf", projector)
    seen: list[tuple[int, int]] = []

    class Seeing(Quiet):
        def progress(self, done: int, total: int) -> None:
            seen.append((done, total))

    for _ in range(2):
        pulled = pull.pull(REPO, sample.places, offline=False, watcher=Seeing())
        assert seen == sorted(seen)
        assert {total for _, total in seen} == {400_000}
        assert seen[-1] == (400_000, 400_000)
        assert (300_000, 400_000) in seen
        seen.clear()
    assert pulled.record.size == 400_000


def test_a_folder_that_cannot_be_used(sample: Sample) -> None:
    sample.places.models.parent.mkdir(parents=True, exist_ok=True)
    sample.places.models.write_text("a file")
    with pytest.raises(LocalchatError, match="models can't be created: File exists"):
        sample.pull()


# What a first look finds


def test_the_first_look_is_one_look(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[Any] = []

    def look(record: Record, paths: Paths, watcher: Any, template: str | None) -> str:
        assert record.path(paths).read_bytes() == sample.content
        looks.append(template)
        return "ab" * 32

    monkeypatch.setattr("localchat.registry.examine.first_look", look)
    sample.write_manifest(template_sha256="cd" * 32)
    assert sample.pull().record.template_sha256 == "ab" * 32
    assert sample.pull().record.template_sha256 == "ab" * 32
    assert record("tiny", sample).template_sha256 == "ab" * 32
    assert looks == ["cd" * 32]


def test_what_the_first_look_refuses_is_not_installed(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> str:
        raise VerificationFailed("it is damaged")

    monkeypatch.setattr("localchat.registry.examine.first_look", refuse)
    for _ in range(2):
        with pytest.raises(VerificationFailed, match="it is damaged"):
            sample.pull()
        assert installed.find("tiny", sample.places) is None


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
    known = record("open", sample)
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
    from .faults import Fault, Kind

    open_model(sample)
    at_hub.add(REPO, FILE, b"GGUF one")
    at_hub.schedule_metadata(Fault(Kind.ETAG, value="not-a-digest"))
    with pytest.raises(VerificationFailed, match="gives no digest"):
        sample.pull("open")
    assert at_hub.sent == {}


# Pins


def test_what_is_installed_stays_until_it_is_pulled_again(sample: Sample, at_hub: Hub) -> None:
    kept = sample.pull().model
    digest = at_hub.add(REPO, FILE, b"GGUF other")
    sample.add_manifest(
        "tiny",
        'name = "tiny"\nfamily = "Tiny"\nlicence = "MIT"\nparameters = 9\ncontext_length = 64',
        f'[[files]]\nquantization = "Q8_0"\nsize = 10\nsha256 = "{digest}"',
        f'[[files.sources]]\ntype = "hub"\nrepo = "{REPO}"\nfile = "{FILE}"',
    )
    assert resolve.resolve("tiny", sample.places) == kept
    os.utime(sample.installed, ns=(0, 0))
    assert resolve.resolve("tiny", sample.places) == kept
    with pytest.raises(NetworkNeeded):
        sample.pull(offline=True)
    assert resolve.resolve("tiny", sample.places) == kept

    taken = sample.pull()
    assert taken.model.sha256 == digest
    assert resolve.resolve("tiny", sample.places) == taken.model
    said = f"tiny is another file than before: its sha256 was {sample.sha256}."
    assert said in sample.watcher.notes
    assert taken.record.licence == "MIT"
    with pytest.raises(ModelNotFound):
        resolve.resolve("wee", sample.places)


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


# What can't be had again


def test_a_model_without_sources_says_so(sample: Sample) -> None:
    pulled = sample.pull()
    own = Record(name="own", keys=("own",), parts=pulled.record.parts, origin="import")
    installed.record(own, sample.places)
    with pytest.raises(ModelNotFound, match="own was imported") as caught:
        sample.pull("own")
    assert caught.value.hint == "localchat models import PATH --name own"


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


# Real models, through the package index that the user has set


def right(path: Path, blob: Blob) -> bool:
    assert blob.sha256 is not None
    return path.stat().st_size == blob.size and path.name == f"{blob.sha256}.gguf"


@pytest.mark.parametrize(
    ("fixture", "name"), [("starter", "smollm2-135m"), ("base_model", "gemma3-270m")]
)
def test_the_real_models_come_through_packages(
    fixture: str, name: str, request: pytest.FixtureRequest
) -> None:
    path: Path = request.getfixturevalue(fixture)
    file = catalog.find(name).file
    assert right(path, file)
    assert sha256(path.read_bytes()).hexdigest() == file.sha256


def test_a_real_pull(places: Paths) -> None:
    seen: list[int] = []

    class Seeing(Quiet):
        def progress(self, done: int, total: int) -> None:
            seen.append(done)

    watcher = Seeing()
    pulled = pull.pull("smollm2-135m", places, offline=False, watcher=watcher)
    file = catalog.find("smollm2-135m").file
    assert right(Path(pulled.model.path), file)
    assert sha256(Path(pulled.model.path).read_bytes()).hexdigest() == file.sha256
    assert seen[-1] == file.size
    assert dict(pulled.model.sampling) == {"temperature": 0.2, "top_p": 0.9, "repeat_penalty": 1.1}
    assert pulled.record.served == str(file.sources[0])
    assert pulled.record.template_sha256 is not None
    assert watcher.notes == []
    assert resolve.resolve("smollm2", places) == pulled.model
