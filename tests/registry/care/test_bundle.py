"""Bundles: what is exported proves itself, and what a bundle says is not believed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from localchat import paths
from localchat.errors import (
    InputError,
    LocalchatError,
    ModelNotFound,
    OutOfSpace,
    UsageError,
    VerificationFailed,
)
from localchat.host.check import check
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.care import bundle, examine, imports
from localchat.registry.care.export import export
from localchat.registry.care.repair import repair
from localchat.registry.files import blobs
from localchat.registry.files.blobs import Way
from localchat.registry.installed import Record
from localchat.registry.resolve import resolve
from tests.conftest import Quiet
from tests.registry.conftest import Sample
from tests.registry.conftest import sample as sample
from tests.registry.hub import Hub
from tests.registry.hub import hub as hub
from tests.registry.planted import (
    FILE,
    REPO,
    files_of,
    flip,
    on_hub,
    put,
    spoil,
    write_projector,
    write_split,
)
from tests.tiny_models import CHATML

Tiny = Callable[..., Path]


class Carrying(Quiet):
    """A model that goes from this test's home to another one."""

    def __init__(self, places: Paths, there: Paths, folder: Path) -> None:
        super().__init__()
        self.places = places
        self.there = there
        self.folder = folder

    def out(self, record: Record) -> bundle.Bundle:
        return export(record, self.folder, self.places, self)

    def into(self, way: Way = "copy", name: str | None = None) -> Record:
        return bundle.import_bundle(self.folder, self.there, way=way, name=name, watcher=self)

    @property
    def about(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "model.json").read_text())
        return found

    def edit(self, **changes: Any) -> None:
        (self.folder / "model.json").write_text(json.dumps(self.about | changes))

    def is_untouched(self) -> bool:
        left = {path.suffix for path in self.there.models.glob("*")}
        return left <= {".lock"} and installed.records(self.there) == []


@pytest.fixture
def carry(places: Paths, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Carrying:
    with monkeypatch.context() as patch:
        patch.setenv("LOCALCHAT_HOME", str(tmp_path / "there"))
        there = paths.find()
    return Carrying(places, there, tmp_path / "stick" / "bundle")


@pytest.fixture
def record(places: Paths, tiny: Tiny) -> Record:
    return imports.import_file(
        tiny(), places, way="copy", name="mine", projector=None, watcher=Quiet()
    )


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


class TestExport:
    def test_all_of_it_proves_itself(self, carry: Carrying, record: Record) -> None:
        carry.out(record)
        names = {path.name for path in carry.folder.iterdir()}
        assert names == {
            "LICENCE.txt",
            "SHA256SUMS",
            "chat_template.jinja",
            "mine.gguf",
            "model.json",
        }
        done = subprocess.run(
            ["sha256sum", "-c", "--strict", "SHA256SUMS"],
            cwd=carry.folder,
            capture_output=True,
            text=True,
            check=True,
        )
        assert {line.split(":")[0] for line in done.stdout.splitlines()} == names - {"SHA256SUMS"}
        assert (carry.folder / "chat_template.jinja").read_text() == CHATML
        assert (carry.folder / "LICENCE.txt").read_text() == (
            "mine\n\nLicence: Its makers' licence is not known to localchat: ask them.\n"
        )

    def test_the_licence_of_the_catalogue_comes_with_its_note(
        self, carry: Carrying, sample: Sample
    ) -> None:
        sample.write_manifest(licence="Odd-1.0", licence_note="Not for cats.")
        carry.out(sample.pull().record)
        text = (carry.folder / "LICENCE.txt").read_text()
        assert text == "tiny\n\nLicence: Odd-1.0\nNot for cats.\n"
        assert not (carry.folder / "chat_template.jinja").exists()

    def test_what_makes_it_a_bundle_is_written_last(
        self, carry: Carrying, record: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fsync = os.fsync
        seen: list[set[str]] = []

        def look(descriptor: int) -> None:
            seen.append({path.name for path in carry.folder.iterdir()})
            fsync(descriptor)

        monkeypatch.setattr(os, "fsync", look)
        carry.out(record)
        assert [("model.json" in names) for names in seen] == [False] * (len(seen) - 2) + [True] * 2
        assert len(seen[-3]) == len(seen[-1]) - 1

    def test_a_folder_in_use_is_left_alone(self, carry: Carrying, record: Record) -> None:
        carry.folder.mkdir(parents=True)
        (carry.folder / "notes.txt").write_text("mine")
        with pytest.raises(UsageError) as caught:
            carry.out(record)
        assert caught.value.hint == "localchat models export mine ANOTHER-FOLDER"
        assert [path.name for path in carry.folder.iterdir()] == ["notes.txt"]

    @pytest.mark.parametrize("is_there", [True, False])
    def test_of_a_damaged_model_nothing_is_left(
        self, carry: Carrying, tmp_path: Path, is_there: bool
    ) -> None:
        files = [path.read_bytes() for path in write_split(tmp_path / "split")]
        record = put(carry.places, *files)
        flip(files_of(record, carry.places)[-1], 100)
        if is_there:
            carry.folder.mkdir(parents=True)
        with pytest.raises(VerificationFailed) as caught:
            carry.out(record)
        assert caught.value.hint == "localchat models repair model"
        assert carry.folder.exists() is is_there
        assert not is_there or list(carry.folder.iterdir()) == []

    def test_a_file_is_gone(self, carry: Carrying, record: Record) -> None:
        files_of(record, carry.places)[0].unlink()
        with pytest.raises(ModelNotFound, match="can't be read: No such file") as caught:
            carry.out(record)
        assert caught.value.hint == "localchat models repair mine"

    def test_ctrl_c_leaves_nothing(self, carry: Carrying, record: Record) -> None:
        carry.progress = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            carry.out(record)
        assert not carry.folder.exists()

    def test_no_room(
        self, carry: Carrying, record: Record, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = type(shutil.disk_usage("/"))(0, 0, record.size)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(OutOfSpace) as caught:
            carry.out(record)
        assert caught.value.hint == "localchat models export mine FOLDER-ON-ANOTHER-DISK"
        assert not carry.folder.exists()

    def test_a_folder_that_can_not_be_made(self, carry: Carrying, record: Record) -> None:
        carry.folder.parent.write_text("a file")
        with pytest.raises(LocalchatError, match=r"bundle can't be used: Not a directory\."):
            carry.out(record)

    def test_what_a_bundle_can_not_say(self, carry: Carrying, record: Record) -> None:
        for odd in (
            replace(record, name="/etc/x"),
            replace(record, sources={record.sha256: [{"type": "odd"}]}),
            replace(record, sampling=(("seed", 3),)),
        ):
            with pytest.raises(LocalchatError, match="can't be put into a bundle"):
                carry.out(odd)
        assert not carry.folder.exists()

    @pytest.mark.parametrize(
        "name", ["owner/repo:Q4_K_M", "hf:owner/repo/a/b.gguf@main", "qwen3-4b:q8_0", "my-model"]
    )
    def test_names_of_all_kinds_survive(
        self, carry: Carrying, record: Record, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if "qwen" in name:
            monkeypatch.setattr("localchat.registry.catalogue.catalog.entries", lambda: ())
        carry.out(replace(record, name=name, keys=(name.lower(),)))
        assert carry.into().name == name
        assert installed.lookup(name.upper(), carry.there) is not None


class TestRoundTrip:
    @pytest.mark.parametrize("way", ["copy", "link", "move"])
    def test_everything_survives(self, carry: Carrying, tmp_path: Path, way: Way) -> None:
        files = [path.read_bytes() for path in write_split(tmp_path / "split")]
        record = put(
            carry.places,
            *files,
            projector=write_projector(tmp_path / "mmproj.gguf").read_bytes(),
            chat_template="{{ messages[0].content }}",
            sampling=(("top_k", 7), ("temperature", 0.25)),
            licence="MIT",
        )
        carry.out(record)
        there = carry.into(way)
        for field in ("name", "sha256", "size", "licence", "chat_template", "sampling"):
            assert getattr(there, field) == getattr(record, field)
        assert (there.origin, there.served) == ("import", str(carry.folder))
        assert [part.sha256 for part in there.all_parts] == [
            part.sha256 for part in record.all_parts
        ]
        assert there.template_sha256 == examine.digest(CHATML)
        assert check(there.path(carry.there)).kind == "ok"
        found = resolve("model", carry.there)
        assert found.chat_template == "{{ messages[0].content }}"
        assert found.sampling == (("top_k", 7), ("temperature", 0.25))
        weights = list(carry.folder.glob("*.gguf"))
        assert len(weights) == (0 if way == "move" else 4)
        assert carry.notes == [
            "Note: the bundle has a chat template of its own, in place of the one in the file"
            " (localchat models show model --template)."
        ]

    def test_a_model_of_the_catalogue_is_recognised(self, carry: Carrying, sample: Sample) -> None:
        record = sample.pull().record
        carry.out(record)
        (carry.folder / "model.json").write_text(
            json.dumps(carry.about | {"chat_template": "evil", "name": "friend", "sources": None})
        )
        there = carry.into()
        assert (there.name, there.keys, there.origin) == ("tiny", record.keys, "catalogue")
        assert there.chat_template == "{{ messages }}"
        assert carry.notes == []
        files_of(there, carry.there)[0].unlink()
        repair(there, carry.there, offline=False, watcher=sample.watcher)
        assert resolve("wee", carry.there).sha256 == record.sha256

    def test_a_later_repair_knows_where_to_fetch(
        self,
        carry: Carrying,
        hub: Hub,
        tiny: Tiny,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        sha = hub.add(REPO, FILE, tiny())
        source = on_hub(revision=hub.commit(REPO))
        name = f"{REPO}:Q4_K_M"
        record = put(
            carry.places,
            tiny().read_bytes(),
            name=name,
            keys=(name.lower(),),
            origin="hub",
            sources={sha: [source], "0" * 64: [{"type": "another file's"}]},
        )
        carry.out(record)
        there = carry.into()
        assert there.sources == {sha: [source]}
        flip(files_of(there, carry.there)[0], 9)
        assert repair(there, carry.there, offline=False, watcher=carry).fetched == there.size
        assert digest(files_of(there, carry.there)[0]) == sha

    def test_a_name_of_the_users_own(self, carry: Carrying, record: Record) -> None:
        carry.out(record)
        assert carry.into(name="Other").name == "other"
        with pytest.raises(UsageError, match="can't be a model's name"):
            carry.into(name="../other")

    def test_what_the_catalogue_does_not_pin_is_the_bundles_word(
        self, carry: Carrying, sample: Sample, record: Record, tiny: Tiny
    ) -> None:
        source = f'[[files.sources]]\ntype = "hub"\nrepo = "{REPO}"\nfile = "{FILE}"'
        sample.add_manifest(
            "free",
            'name = "free"\naliases = ["gratis"]\nfamily = "Free"\nlicence = "MIT"\nparameters = 1',
            'context_length = 1\nchat_template = "ours"',
            f'[[files]]\nquantization = "Q4_K_M"\n{source}',
        )
        carry.out(replace(record, name="free", chat_template="theirs"))
        there = carry.into()
        assert (there.name, there.origin, there.is_pinned) == ("free", "catalogue", False)
        assert there.chat_template == "ours"
        assert installed.lookup("gratis", carry.there) is not None
        assert carry.notes == [
            "Note: the catalogue does not pin free: that this is it is the bundle's word."
        ]
        shutil.rmtree(carry.folder)
        other = imports.import_file(
            tiny(seed=5), carry.places, way="copy", name="other", projector=None, watcher=carry
        )
        carry.out(replace(other, name="free"))
        with pytest.raises(UsageError, match="free is the name of another model"):
            carry.into()


class TestDamaged:
    @pytest.mark.parametrize("way", ["copy", "link", "move"])
    def test_a_flipped_byte(self, carry: Carrying, tmp_path: Path, way: Way) -> None:
        files = [path.read_bytes() for path in write_split(tmp_path / "split")]
        carry.out(put(carry.places, *files))
        weights = sorted(carry.folder.glob("*.gguf"))
        flip(weights[-1], 300)
        with pytest.raises(VerificationFailed, match="is damaged: its sha256 is"):
            carry.into(way)
        assert sorted(carry.folder.glob("*.gguf")) == weights
        assert carry.is_untouched()

    def test_a_file_that_is_not_whole_or_not_there(self, carry: Carrying, record: Record) -> None:
        carry.out(record)
        path = carry.folder / "mine.gguf"
        os.truncate(path, 100)
        with pytest.raises(VerificationFailed, match="has 100 bytes"):
            carry.into()
        path.unlink()
        with pytest.raises(VerificationFailed, match=r"lacks its file mine\.gguf"):
            carry.into()
        assert carry.is_untouched()

    @pytest.mark.parametrize("way", ["copy", "link", "move"])
    def test_weights_that_are_no_numbers(
        self, carry: Carrying, tiny: Tiny, tmp_path: Path, way: Way
    ) -> None:
        path = tmp_path / "spoiled.gguf"
        shutil.copyfile(tiny(), path)
        carry.out(put(carry.places, spoil(path).read_bytes()))
        with pytest.raises(VerificationFailed):
            carry.into(way)
        assert (carry.folder / "model.gguf").exists()
        assert carry.is_untouched()


class TestHostile:
    @pytest.fixture(autouse=True)
    def _exported(self, carry: Carrying, record: Record) -> None:
        carry.out(record)

    @pytest.mark.parametrize(
        "name",
        [
            "../../evil.gguf",
            "/etc/passwd",
            "a/b.gguf",
            "..gguf",
            ".hidden.gguf",
            "x\n.gguf",
            "x.txt",
            "",
            "x" * 300 + ".gguf",
        ],
    )
    def test_names_of_files_that_lead_elsewhere(self, carry: Carrying, name: str) -> None:
        (weights,) = carry.about["weights"]
        carry.edit(weights=[weights | {"name": name}])
        with pytest.raises(InputError, match="does not describe a model: weights"):
            carry.into()
        assert carry.is_untouched()

    @pytest.mark.parametrize(
        "name",
        [
            "../x",
            "/etc/passwd",
            "./model.gguf",
            "~/x",
            "model.gguf",
            "a/b/c",
            "hf:a/../b",
            "a\x1b[31m",
            "a b",
            "",
            "x" * 301,
            7,
        ],
    )
    def test_names_of_models_that_are_paths(self, carry: Carrying, name: object) -> None:
        carry.edit(name=name)
        with pytest.raises(InputError, match="does not describe a model: name"):
            carry.into()
        assert carry.is_untouched()

    @pytest.mark.parametrize(
        "changes",
        [
            {"format": 2},
            {"format": "1"} | {"quantization": "q4 0"},
            {"weights": []},
            {"weights": None},
            {"extra": 1},
            {"sampling": {"temperature": -1}},
            {"sampling": {"temperature": 1e999}},
            {"sampling": {"seed": 1}},
            {"sources": {"not a digest": []}},
            {"sources": {"a" * 64: [{"type": "url", "url": "file:///etc/passwd"}]}},
            {"sources": {"a" * 64: [{"type": "hub", "repo": "../x", "file": "a.gguf"}]}},
            {"sources": [[[[]]]]},
            {"licence": ""},
            {"chat_template": 3},
        ],
    )
    def test_values_of_wrong_kinds(self, carry: Carrying, changes: dict[str, Any]) -> None:
        carry.edit(**changes)
        with pytest.raises(InputError, match="does not describe a model") as caught:
            carry.into()
        assert str(caught.value).isprintable()
        assert carry.is_untouched()

    @pytest.mark.parametrize(
        "text", [b"", b"[]", b"null", b"{", b"\xff\xfe", b'{"a":' * 100_000, b"[" * 1_000_000]
    )
    def test_what_is_no_description(self, carry: Carrying, text: bytes) -> None:
        (carry.folder / "model.json").write_bytes(text)
        with pytest.raises(InputError, match="does not describe a model"):
            carry.into()

    def test_a_huge_description(self, carry: Carrying) -> None:
        with (carry.folder / "model.json").open("r+b") as file:
            file.truncate(2**40)
        with pytest.raises(InputError, match="too long"):
            carry.into()

    def test_a_file_twice(self, carry: Carrying) -> None:
        carry.edit(weights=carry.about["weights"] * 2)
        with pytest.raises(InputError, match="two files have the same name"):
            carry.into()

    @pytest.mark.parametrize("size", [0, -1, 2**70, 1.5, None])
    def test_sizes(self, carry: Carrying, size: object) -> None:
        (weights,) = carry.about["weights"]
        carry.edit(weights=[weights | {"size": size}])
        with pytest.raises((InputError, VerificationFailed)):
            carry.into()
        assert carry.is_untouched()

    def test_the_name_of_another_model(
        self, carry: Carrying, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        carry.edit(name="smollm2-135m")
        monkeypatch.setattr(blobs, "take_in", lambda *_: pytest.fail("it is copied first"))
        with pytest.raises(UsageError, match="smollm2-135m is the name of another model"):
            carry.into()
        assert carry.is_untouched()

    def test_the_digest_of_a_catalogue_model_with_other_bytes(
        self, carry: Carrying, sample: Sample
    ) -> None:
        (weights,) = carry.about["weights"]
        carry.edit(weights=[weights | {"sha256": sample.sha256}])
        with pytest.raises(VerificationFailed):
            carry.into()
        assert carry.is_untouched()

    @pytest.mark.parametrize("name", ["mine.gguf", "model.json"])
    @pytest.mark.parametrize("way", ["copy", "link", "move"])
    def test_a_link_in_the_place_of_a_file(
        self, carry: Carrying, tmp_path: Path, name: str, way: Way
    ) -> None:
        path = carry.folder / name
        outside = path.rename(tmp_path / "outside")
        path.symlink_to(outside)
        with pytest.raises(InputError, match="is not a regular file"):
            carry.into(way)
        assert outside.exists()
        assert carry.is_untouched()

    @pytest.mark.parametrize("name", ["mine.gguf", "model.json"])
    def test_a_fifo_is_not_waited_for(self, carry: Carrying, name: str) -> None:
        (carry.folder / name).unlink()
        os.mkfifo(carry.folder / name)
        with pytest.raises(InputError, match="is not a regular file"):
            carry.into()


def test_what_looks_like_a_bundle(tmp_path: Path) -> None:
    assert not bundle.is_bundle(tmp_path)
    assert not bundle.is_bundle(tmp_path / "none")
    (tmp_path / "model.json").symlink_to("nowhere")
    assert bundle.is_bundle(tmp_path)
    assert not bundle.is_bundle(tmp_path / "model.json")
