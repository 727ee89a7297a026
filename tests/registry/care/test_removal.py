"""Removing models and clearing up: what somebody may still want is never taken."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localchat.errors import LocalchatError
from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.care import removal
from localchat.registry.care.removal import Garbage
from localchat.registry.files import blobs, locks
from tests.registry.conftest import Sample
from tests.registry.conftest import sample as sample
from tests.registry.hub import hub as hub
from tests.registry.planted import SIZE, content, files_of, put


def chunks_size(path: Path) -> int:
    return path.with_suffix(".chunks").stat().st_size


def left(places: Paths) -> set[str]:
    """What is in the models folder, but for the lock file."""
    return {path.name for path in places.models.iterdir() if not path.name.startswith("lock.json")}


class TestRemove:
    def test_all_of_it_goes(self, places: Paths) -> None:
        record = put(places, content(1), content(2), projector=content(3))
        extra = sum(chunks_size(path) for path in files_of(record, places))
        assert removal.remove(record, places) == 3 * SIZE + extra
        assert left(places) == set()
        assert installed.records(places) == []

    def test_what_another_model_needs_stays(self, places: Paths) -> None:
        one = put(places, content(1), projector=content(3), name="one", keys=("one",))
        two = put(places, content(2), projector=content(3), name="two", keys=("two",))
        removal.remove(one, places)
        assert all(path.exists() for path in files_of(two, places))
        assert installed.lookup("two", places) is not None
        assert not files_of(one, places)[0].exists()

    def test_of_two_names_of_one_file_the_other_goes_on(self, places: Paths) -> None:
        one = put(places, content(), name="one", keys=("one",))
        put(places, content(), name="two", keys=("two",))
        assert removal.remove(one, places) == 0
        assert installed.lookup("one", places) is None
        assert installed.lookup("two", places) is not None

    def test_of_a_link_only_the_link_goes(self, places: Paths, tmp_path: Path) -> None:
        foreign = tmp_path / "theirs.gguf"
        foreign.write_bytes(content())
        record = put(places, content())
        blobs.link(record.sha256, foreign, places)
        assert removal.remove(record, places) < SIZE
        assert foreign.read_bytes() == content()
        assert left(places) == set()

    def test_a_model_that_is_being_pulled_stays_whole(self, places: Paths) -> None:
        record = put(places, content(1), content(2))
        before = left(places)
        with locks.held(files_of(record, places)[1]):
            with pytest.raises(LocalchatError, match="is being downloaded right now"):
                removal.remove(record, places)
            assert left(places) - before == {f"{record.parts[0].sha256}.lock"} | {
                f"{record.parts[1].sha256}.lock"
            }
        assert installed.lookup("model", places) is not None
        removal.remove(record, places)
        assert left(places) == set()

    def test_aliases_for_it_go(self, places: Paths) -> None:
        record = put(places, content(), name="Owner/Repo:Q4_0", keys=("owner/repo:q4_0",))
        installed.set_alias("short", "Owner/Repo:Q4_0", places)
        installed.set_alias("other", "another", places)
        removal.remove(record, places)
        assert installed.aliases(places) == {"other": "another"}

    def test_a_file_that_is_gone_is_no_obstacle(self, places: Paths) -> None:
        record = put(places, content())
        files_of(record, places)[0].unlink()
        removal.remove(record, places)
        assert left(places) == set()


class TestGarbage:
    def test_there_is_none(self, places: Paths) -> None:
        assert removal.garbage(places) == []
        put(places, content(1), content(2), projector=content(3))
        before = left(places)
        assert removal.collect(places) == []
        assert left(places) == before

    def test_unfinished_downloads(self, places: Paths) -> None:
        put(places, content())
        before = left(places)
        digest = "a" * 64
        (places.models / f"{digest}.partial").write_bytes(b"x" * 70)
        (places.models / f"{digest}.resume").write_bytes(b"x" * 7)
        scratch = places.models / f"{digest}.parts"
        scratch.mkdir()
        (scratch / "a.whl").write_bytes(b"x" * 700)
        expected = [Garbage(digest, 777, "unfinished")]
        assert removal.garbage(places) == expected
        assert (places.models / f"{digest}.partial").exists()
        assert removal.collect(places) == expected
        assert left(places) == before
        assert removal.garbage(places) == []

    def test_files_that_nothing_refers_to(self, places: Paths) -> None:
        old = put(places, content(1), content(2))
        extra = [chunks_size(path) for path in files_of(old, places)]
        put(places, content(3))  # as after an update: the same name, another file
        found = removal.collect(places)
        assert {(each.name, each.size) for each in found} == {
            (part.sha256, SIZE + size) for part, size in zip(old.parts, extra, strict=True)
        }
        assert {each.kind for each in found} == {"unused"}
        assert {name.partition(".")[0] for name in left(places)} == {
            part.sha256 for part in installed.records(places)[0].parts
        }

    def test_of_an_installed_model_only_what_is_unfinished(self, places: Paths) -> None:
        record = put(places, content())
        (path,) = files_of(record, places)
        path.with_suffix(".partial").write_bytes(b"x" * 10)
        assert removal.collect(places) == [Garbage(record.sha256, 10, "unfinished")]
        assert installed.lookup("model", places) is not None
        assert path.with_suffix(".chunks").exists()

    def test_what_is_being_downloaded_is_not_garbage(self, places: Paths) -> None:
        put(places, content())
        digest = "a" * 64
        partial = places.models / f"{digest}.partial"
        partial.write_bytes(b"x")
        with locks.held(installed.location(digest, places)):
            assert removal.garbage(places) == removal.collect(places) == []
        assert partial.exists()

    def test_what_came_in_and_is_not_recorded_yet_is_not_garbage(self, places: Paths) -> None:
        record = put(places, content())
        installed.forget("model", places)
        with locks.incoming(places.models):
            assert removal.collect(places) == []
        assert files_of(record, places)[0].exists()
        assert [each.name for each in removal.collect(places)] == [record.sha256]

    def test_a_damaged_lock_file_loses_no_model(self, places: Paths) -> None:
        record = put(places, content())
        lock = installed.lock_file(places)
        lock.write_text(lock.read_text()[:-5])
        assert removal.collect(places) == []
        other = put(places, content(2), name="other", keys=("other",))  # sets the damaged one aside
        assert [each.name for each in installed.records(places)] == ["other"]
        assert removal.collect(places) == []
        assert all(path.exists() for path in files_of(record, places) + files_of(other, places))

    def test_a_model_of_the_catalogue_needs_no_lock_file(self, sample: Sample) -> None:
        record = sample.pull().record
        installed.lock_file(sample.places).unlink()
        assert removal.collect(sample.places) == []
        assert sample.installed.exists()
        sample.installed.unlink()
        (found,) = removal.collect(sample.places)
        assert (found.name, found.kind) == (record.sha256, "unfinished")

    def test_what_killed_processes_left(self, places: Paths) -> None:
        put(places, content())
        old, new = places.models / "import.old.tmp", places.models / "import.new.tmp"
        for path in (old, new):
            path.write_bytes(b"x" * 20)
        os.utime(old, (1, 1))
        assert removal.collect(places) == [Garbage("import.old.tmp", 20, "unfinished")]
        assert new.exists()


def test_what_is_dropped_is_referred_to_by_nobody(places: Paths) -> None:
    record = put(places, content(1), content(2))
    stray = put(places, content(3), name="stray", keys=("stray",))
    installed.forget("stray", places)
    removal.drop([part.sha256 for part in (*record.parts, *stray.parts)], places)
    assert all(path.exists() for path in files_of(record, places))
    assert not any(path.exists() for path in files_of(stray, places))
