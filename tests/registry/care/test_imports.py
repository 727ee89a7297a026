"""Taking in files of this machine: nothing is moved, or lost, before all is well."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from localchat.errors import (
    InputError,
    LocalchatError,
    ModelLoadFailed,
    OutOfSpace,
    UsageError,
    VerificationFailed,
)
from localchat.host.check import check
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.care import imports, removal
from localchat.registry.files import blobs, locks
from localchat.registry.files.blobs import Way
from localchat.registry.installed import Record
from localchat.registry.resolve import resolve
from tests.conftest import Quiet
from tests.registry.planted import spoil, write_projector, write_split

Tiny = Callable[..., Path]
WAYS: tuple[Way, ...] = ("link", "copy", "move")
EACH_WAY = pytest.mark.parametrize("way", WAYS)


class Importing(Quiet):
    def __init__(self, places: Paths) -> None:
        super().__init__()
        self.places = places
        self.seen: list[tuple[int, int]] = []

    def progress(self, done: int, total: int) -> None:
        self.seen.append((done, total))

    def __call__(self, path: Path, way: Way = "link", **options: Any) -> Record:
        given = {"name": None, "projector": None} | options
        return imports.import_file(path, self.places, way=way, watcher=self, **given)

    @property
    def left(self) -> set[str]:
        """What is in the models folder."""
        if not self.places.models.exists():
            return set()
        return {path.name for path in self.places.models.iterdir()}

    def is_untouched(self) -> bool:
        """Nothing came in, nothing is recorded, and no file is left to be cleared up."""
        assert {name for name in self.left if not name.endswith((".lock", ".json"))} == set()
        return installed.records(self.places) == []


@pytest.fixture
def bring(places: Paths) -> Importing:
    return Importing(places)


@pytest.fixture
def model(tiny: Tiny, tmp_path: Path) -> Path:
    folder = tmp_path / "theirs"
    folder.mkdir()
    path = folder / "My Model.Q8_0.gguf"
    shutil.copyfile(tiny(), path)
    return path


def digest(path: Path) -> str:
    return sha256(path.read_bytes()).hexdigest()


class TestWays:
    @EACH_WAY
    def test_it_is_installed(self, bring: Importing, model: Path, way: Way) -> None:
        expected, size = digest(model), model.stat().st_size
        record = bring(model, way)
        assert record.name == "my-model.q8_0"
        assert (record.origin, record.quantization) == ("import", "Q8_0")
        assert record.served == str(model)
        assert record.sha256 == expected
        found = resolve("my-model.q8_0", bring.places)
        assert digest(Path(found.path)) == expected
        assert bring.seen[-1] == (size, size)
        assert bring.notes == []
        assert Path(found.path).with_suffix(".chunks").exists()

    def test_a_link_uses_it_where_it_lies(self, bring: Importing, model: Path) -> None:
        mode = model.stat().st_mode
        record = bring(model, "link")
        assert record.path(bring.places).readlink() == model
        assert model.stat().st_mode == mode

    def test_a_copy_is_ours(self, bring: Importing, model: Path) -> None:
        path = bring(model, "copy").path(bring.places)
        assert not path.samefile(model)
        assert stat.S_IMODE(path.lstat().st_mode) == 0o444
        model.write_bytes(b"changed")
        assert installed.lookup("my-model.q8_0", bring.places) is not None

    def test_a_move_within_a_file_system_copies_nothing(
        self, bring: Importing, model: Path
    ) -> None:
        inode = model.stat().st_ino
        path = bring(model, "move").path(bring.places)
        assert not model.exists()
        assert path.lstat().st_ino == inode
        assert stat.S_IMODE(path.lstat().st_mode) == 0o444

    def test_a_move_across_file_systems(self, bring: Importing, model: Path) -> None:
        ours = model.stat().st_dev
        disks = (Path("/dev/shm"), Path(tempfile.gettempdir()), Path.home())
        second = [disk for disk in disks if os.access(disk, os.W_OK) and disk.stat().st_dev != ours]
        if not second:
            pytest.skip("there is no second disk")
        with tempfile.TemporaryDirectory(dir=second[0]) as folder:
            other = Path(shutil.copy(model, folder))
            assert other.stat().st_dev != ours
            path = bring(other, "move", name="moved").path(bring.places)
            assert not other.exists()
            assert digest(path) == digest(model)
            assert stat.S_IMODE(path.lstat().st_mode) == 0o444

    @EACH_WAY
    def test_what_is_there_already_stays(self, bring: Importing, model: Path, way: Way) -> None:
        path = bring(model, "copy").path(bring.places)
        inode = path.lstat().st_ino
        bring(model, way, name="another")
        assert path.lstat().st_ino == inode
        assert model.exists() is (way != "move")
        assert [each.name for each in installed.records(bring.places)] == [
            "another",
            "my-model.q8_0",
        ]

    @EACH_WAY
    def test_a_damaged_file_of_ours_is_replaced(
        self, bring: Importing, model: Path, way: Way
    ) -> None:
        path = bring(model, "copy").path(bring.places)
        path.unlink()
        path.write_bytes(b"GGUF")
        expected = digest(model)
        bring(model, way)
        assert digest(path) == expected

    def test_a_link_to_be_moved_is_taken_over(self, bring: Importing, model: Path) -> None:
        path = bring(model, "link").path(bring.places)
        bring(model, "move")
        assert not path.is_symlink()
        assert not model.exists()
        assert installed.lookup("my-model.q8_0", bring.places) is not None

    @EACH_WAY
    def test_a_file_of_the_models_folder_itself(
        self, bring: Importing, model: Path, way: Way
    ) -> None:
        path = bring(model, "copy").path(bring.places)
        bring(path, way, name="again")
        assert digest(path) == path.stem
        assert not path.is_symlink()

    def test_a_link_of_the_users_own_is_followed(
        self, bring: Importing, model: Path, tmp_path: Path
    ) -> None:
        link = tmp_path / "link.gguf"
        link.symlink_to(model)
        assert bring(link).path(bring.places).readlink() == model


class TestNames:
    def test_the_users_word_counts(self, bring: Importing, model: Path) -> None:
        assert bring(model, name="Other:Q8_0").name == "other:q8_0"

    @pytest.mark.parametrize("name", ["../x", "a b", "-x", "x\x1b[31m", "/x", "a/b", "x.gguf"])
    def test_what_can_not_be_a_name(self, bring: Importing, model: Path, name: str) -> None:
        with pytest.raises(UsageError) as caught:
            bring(model, name=name)
        assert "\x1b" not in str(caught.value)
        assert caught.value.hint == f"localchat models import '{model}' --name my-model"
        assert bring.is_untouched()

    @pytest.mark.parametrize(
        ("file", "name"),
        [
            ("Ünïcode模型 (v1) [x]* 'q'.gguf", "n-code-v1-x-q"),
            ("模型.gguf", "tiny-model"),
            (f"sha256-{'a' * 64}", "tiny-model"),
            ("a" * 64, "tiny-model"),
            ("model-00001-of-00001.gguf", "model"),
            ("x\x1b[31m.gguf", "x-31m"),
        ],
    )
    def test_what_files_are_called(
        self, bring: Importing, model: Path, file: str, name: str
    ) -> None:
        """An Ollama blob, too, is a file like any other, named by its content."""
        path = model.rename(model.with_name(file))
        record = bring(path)
        assert record.name == name
        assert resolve(name, bring.places).path == str(record.path(bring.places))

    def test_a_file_of_the_catalogue_gets_its_name(
        self, bring: Importing, starter: Path, tmp_path: Path
    ) -> None:
        path = tmp_path / "whatever.gguf"
        path.symlink_to(starter)
        record = bring(path)
        assert (record.name, record.origin, record.licence) == (
            "smollm2-135m",
            "catalogue",
            "Apache-2.0",
        )
        assert record.sources
        assert [source["type"] for source in record.sources[record.sha256]] == ["pypi"]
        assert dict(record.sampling)["temperature"] == 0.2
        assert resolve("starter", bring.places).path == str(record.path(bring.places))

    @pytest.mark.parametrize("name", ["qwen3-4b", "starter", "smollm2-135m:q4_k_m"])
    @EACH_WAY
    def test_no_other_file_gets_a_name_of_the_catalogue(
        self, bring: Importing, model: Path, name: str, way: Way
    ) -> None:
        with pytest.raises(UsageError, match="is the name of another model") as caught:
            bring(model, way, name=name)
        assert caught.value.hint == "the same command with --name ANOTHER-NAME"
        assert bring.seen == []  # it is said before gigabytes are copied
        assert model.exists()
        assert bring.is_untouched()

    def test_no_other_file_gets_the_name_of_an_installed_model(
        self, bring: Importing, model: Path, tiny: Tiny
    ) -> None:
        bring(tiny(seed=3), "copy", name="mine")
        with pytest.raises(UsageError, match="mine is the name of another model"):
            bring(model, "move", name="mine")
        assert model.exists()
        assert bring(tiny(seed=3), name="mine").name == "mine"

    def test_an_alias_is_taken_too(self, bring: Importing, model: Path, tiny: Tiny) -> None:
        installed.set_alias("short", "qwen3-4b", bring.places)
        with pytest.raises(UsageError, match="short is the name of another model"):
            bring(model, name="short")
        bring(model, name="long")
        installed.set_alias("short", "long", bring.places)
        with pytest.raises(UsageError, match="short is the name of another model"):
            bring(model, name="short")


class TestSeveralFiles:
    @EACH_WAY
    @pytest.mark.parametrize("number", [0, -1])
    def test_a_split_model_comes_whole(
        self, bring: Importing, tmp_path: Path, way: Way, number: int
    ) -> None:
        files = write_split(tmp_path / "split dir")
        assert len(files) == 3
        digests = tuple(map(digest, files))
        record = bring(files[number], way)
        assert record.name == "tiny"
        assert tuple(part.sha256 for part in record.parts) == digests
        assert check(record.path(bring.places)).kind == "ok"
        assert [path.exists() for path in files] == [way != "move"] * 3

    def test_a_part_is_missing(self, bring: Importing, tmp_path: Path) -> None:
        files = write_split(tmp_path / "split")
        files[1].unlink()
        with pytest.raises(InputError, match="split into 3 files; 2 are there"):
            bring(files[0])
        assert bring.is_untouched()

    @EACH_WAY
    def test_a_projector_comes_along(self, bring: Importing, model: Path, way: Way) -> None:
        projector = write_projector(model.with_name("mmproj.gguf"))
        expected = digest(projector)
        record = bring(model, way, projector=projector)
        assert record.projector is not None
        assert record.projector.sha256 == expected
        assert projector.exists() is (way != "move")
        assert installed.location(expected, bring.places).exists()

    def test_what_is_no_projector(self, bring: Importing, model: Path, tiny: Tiny) -> None:
        with pytest.raises(UsageError, match="is not a projector"):
            bring(model, projector=tiny())
        with pytest.raises(InputError, match="There is no file"):
            bring(model, projector=model.with_name("nothing"))
        assert bring.is_untouched()

    def test_a_projector_in_the_place_of_the_model(self, bring: Importing, tmp_path: Path) -> None:
        projector = write_projector(tmp_path / "mmproj.gguf")
        with pytest.raises(UsageError) as caught:
            bring(projector)
        assert caught.value.hint == (f"localchat models import MODEL.gguf --projector {projector}")
        assert bring.is_untouched()


class TestRefused:
    def test_a_folder(self, bring: Importing, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="is a folder without a bundle in it"):
            bring(tmp_path)

    def test_nothing_is_there(self, bring: Importing, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="There is no file"):
            bring(tmp_path / "none.gguf")

    def test_a_dangling_link(self, bring: Importing, tmp_path: Path) -> None:
        link = tmp_path / "link.gguf"
        link.symlink_to(tmp_path / "gone")
        with pytest.raises(InputError, match=r"leads to a file that is gone: .*/gone"):
            bring(link)

    def test_a_loop_of_links(self, bring: Importing, tmp_path: Path) -> None:
        loop = tmp_path / "loop.gguf"
        loop.symlink_to(loop)
        with pytest.raises(InputError):
            bring(loop)

    def test_a_fifo_is_not_waited_for(self, bring: Importing, model: Path, tmp_path: Path) -> None:
        fifo = tmp_path / "fifo.gguf"
        os.mkfifo(fifo)
        with pytest.raises(InputError, match="is not a regular file"):
            bring(fifo)
        with pytest.raises(InputError, match="is not a regular file"):
            bring(model, projector=fifo)
        files = write_split(tmp_path / "split")
        files[2].unlink()
        os.mkfifo(files[2])
        with pytest.raises(InputError, match="is not a regular file"):
            bring(files[0])
        assert bring.is_untouched()

    @EACH_WAY
    @pytest.mark.parametrize("data", [b"", b"no model", b"GGUF" + bytes(20)])
    def test_no_gguf_file(self, bring: Importing, model: Path, way: Way, data: bytes) -> None:
        model.write_bytes(data)
        with pytest.raises(ModelLoadFailed):
            bring(model, way)
        assert model.read_bytes() == data
        assert bring.is_untouched()

    @EACH_WAY
    def test_damaged_weights(self, bring: Importing, model: Path, way: Way) -> None:
        spoil(model)
        data, mode = model.read_bytes(), model.stat().st_mode
        with pytest.raises(VerificationFailed) as caught:
            bring(model, way)
        assert str(caught.value).startswith(f"{model} is damaged: ")
        assert (model.read_bytes(), model.stat().st_mode) == (data, mode)
        assert bring.is_untouched()

    @EACH_WAY
    def test_damage_in_a_further_file(self, bring: Importing, tmp_path: Path, way: Way) -> None:
        files = write_split(tmp_path / "split")
        spoil(files[-1])
        with pytest.raises(VerificationFailed):
            bring(files[0], way)
        assert all(path.exists() for path in files)
        assert bring.is_untouched()

    def test_what_another_model_needs_survives_a_failed_import(
        self, bring: Importing, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        bring(model, "copy", name="first")
        spoiled = "localchat.registry.care.examine.first_look"
        monkeypatch.setattr(spoiled, lambda *_: (_ for _ in ()).throw(VerificationFailed("bad")))
        with pytest.raises(VerificationFailed):
            bring(model, "move", name="second")
        assert model.exists()
        assert installed.lookup("first", bring.places) is not None

    @EACH_WAY
    def test_ctrl_c(self, bring: Importing, model: Path, way: Way) -> None:
        bring.progress = lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            bring(model, way)
        assert model.exists()
        assert bring.is_untouched()

    def test_no_room_for_a_copy(
        self, bring: Importing, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usage = type(shutil.disk_usage("/"))(0, 0, model.stat().st_size)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
        with pytest.raises(OutOfSpace) as caught:
            bring(model, "copy")
        assert caught.value.hint == f"localchat models import '{model}' --link takes none"
        bring(model, "move")

    def test_the_disk_fills_up(
        self, bring: Importing, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def full(descriptor: int) -> None:
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(OutOfSpace, match="The disk filled up"):
            bring(model, "copy")
        monkeypatch.undo()
        assert bring.is_untouched()

    def test_the_lock_file_can_not_be_written(
        self, bring: Importing, model: Path, places: Paths
    ) -> None:
        places.models.mkdir(parents=True)
        (places.models / "lock.json").mkdir()
        with pytest.raises(LocalchatError):
            bring(model, "move")
        assert model.exists()

    def test_a_file_that_can_not_be_opened_is_named(
        self, bring: Importing, model: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: object) -> None:
            raise PermissionError(13, os.strerror(13), str(model))

        monkeypatch.setattr(blobs, "_hash", refuse)
        with pytest.raises(InputError) as caught:
            bring(model)
        assert str(caught.value) == f"{model} can't be used: Permission denied."


def test_a_moved_file_that_stays_is_noted(
    bring: Importing, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(blobs, "release", refuse)
    bring(model, "move")
    assert bring.notes == [f"Note: {model} could not be removed: Permission denied."]
    assert installed.lookup("my-model.q8_0", bring.places) is not None


def test_who_clears_up_meanwhile_takes_nothing(
    bring: Importing, model: Path, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[removal.Garbage] = []

    def look(*_: object) -> None:
        with locks.quiet(places.models) as is_quiet:
            assert not is_quiet
        found.extend(removal.collect(places))

    monkeypatch.setattr("localchat.registry.care.examine.first_look", look)
    bring(model, "move")
    assert found == []
    assert installed.lookup("my-model.q8_0", places) is not None


def test_a_model_that_this_llama_can_not_run_is_kept(bring: Importing, model: Path) -> None:
    data = model.read_bytes().replace(b"llama", b"lambd")
    model.write_bytes(data)
    bring(model, name="new")
    (note,) = bring.notes
    assert note.startswith("Note: this llama.cpp can't use new yet: ")
    assert installed.lookup("new", bring.places) is not None
