from __future__ import annotations

import datetime
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from localchat.errors import (
    LocalchatError,
    ModelNotFound,
    NetworkNeeded,
    VerificationFailed,
)
from localchat.paths import Paths, make_private
from localchat.registry import download, installed, pull, resolve
from localchat.registry.catalogue import catalog
from localchat.registry.catalogue.manifest import Blob
from localchat.registry.files import verify
from localchat.registry.installed import Record
from tests.conftest import Quiet
from tests.registry.conftest import Sample
from tests.registry.hub import Hub

REPO = "Maker/Model-GGUF"
FILE = "m-Q4_K_M.gguf"


@pytest.fixture
def no_fetch(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> str:
        raise AssertionError("something was downloaded")

    monkeypatch.setattr(download, "fetch", refuse)


def written(name: str) -> Any:
    """What is recorded of where the files come from."""
    blob = catalog.find(name).file
    return {blob.sha256: [source.model_dump(mode="json") for source in blob.sources]}


# A model of the catalogue


@pytest.mark.usefixtures("real_pip")
def test_what_is_recorded(sample: Sample) -> None:
    pulled = sample.pull("WEE")
    assert pulled.served == ("tiny-part1 1.0 and 1 more",)
    assert pulled.record == sample.record("tiny")
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


@pytest.mark.usefixtures("real_pip")
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

    monkeypatch.setattr("localchat.registry.care.examine.first_look", look)
    sample.write_manifest(template_sha256="cd" * 32)
    assert sample.pull().record.template_sha256 == "ab" * 32
    assert sample.pull().record.template_sha256 == "ab" * 32
    assert sample.record("tiny").template_sha256 == "ab" * 32
    assert looks == ["cd" * 32]


def test_what_the_first_look_refuses_is_not_installed(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> str:
        raise VerificationFailed("it is damaged")

    monkeypatch.setattr("localchat.registry.care.examine.first_look", refuse)
    for _ in range(2):
        with pytest.raises(VerificationFailed, match="it is damaged"):
            sample.pull()
        assert installed.find("tiny", sample.places) is None
        with pytest.raises(ModelNotFound, match="is not installed"):
            resolve.resolve("tiny", sample.places)


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


# What can't be had again


def test_a_model_without_sources_says_so(sample: Sample) -> None:
    pulled = sample.pull()
    own = Record(name="own", keys=("own",), parts=pulled.record.parts, origin="import")
    installed.record(own, sample.places)
    with pytest.raises(ModelNotFound, match="own was imported") as caught:
        sample.pull("own")
    assert caught.value.hint == "localchat models import PATH --name own"


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
