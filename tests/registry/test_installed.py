from __future__ import annotations

import os
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localchat.paths import Paths, make_private
from localchat.registry import installed
from localchat.registry.files import verify
from localchat.registry.installed import Part, Record
from localchat.types import ModelRef

DIGEST = "ab" * 32
OTHER = "cd" * 32


def part(digest: str, places: Paths, content: bytes = b"GGUF") -> Part:
    """A file that is there."""
    make_private(places.models)
    path = installed.location(digest, places)
    path.write_bytes(content)
    return Part(digest, verify.stamp(path))


@pytest.fixture
def kept(places: Paths) -> Record:
    """A model whose file is there and recorded as `a` and `b`."""
    made = Record(
        name="a",
        keys=("a", "b", "a:q4_0"),
        parts=(part(DIGEST, places),),
        quantization="Q4_0",
        sources={DIGEST: [{"type": "hub", "repo": "o/r", "file": "x.gguf", "revision": "main"}]},
        chat_template="{{ x }}",
        sampling=(("temperature", 0.2), ("top_k", 3)),
    )
    installed.record(made, places)
    return made


@pytest.fixture
def model(kept: Record, places: Paths) -> ModelRef:
    return kept.model(places)


def test_round_trip(kept: Record, model: ModelRef, places: Paths) -> None:
    assert model == ModelRef(
        name="a",
        path=str(places.models / f"{DIGEST}.gguf"),
        sha256=DIGEST,
        chat_template="{{ x }}",
        sampling=(("temperature", 0.2), ("top_k", 3)),
    )
    for name in ("a", "A", "b", "a:Q4_0"):
        assert installed.lookup(name, places) == model
        assert installed.find(name, places) == kept
    assert installed.lookup("c", places) is None
    assert installed.find("c", places) is None
    assert installed.records(places) == [kept]


def test_a_second_record_keeps_the_first(kept: Record, model: ModelRef, places: Paths) -> None:
    second = replace(kept, name="c", keys=("c",), chat_template=None)
    installed.record(second, places)
    assert installed.lookup("c", places) == replace(model, name="c", chat_template=None)
    assert installed.lookup("a", places) == model
    assert installed.records(places) == [kept, second]


def test_a_name_means_what_was_recorded_last(kept: Record, places: Paths) -> None:
    installed.record(replace(kept, name="c", keys=("c", "b")), places)
    assert installed.find("b", places) == installed.find("c", places)
    assert installed.find("a", places) == replace(kept, keys=("a", "a:q4_0"))
    installed.record(replace(kept, name="d", keys=("d", "a", "a:q4_0")), places)
    assert [each.name for each in installed.records(places)] == ["c", "d"]


def test_a_record_without_a_template_or_defaults(kept: Record, places: Paths) -> None:
    bare = Record(name="a", keys=("a",), parts=kept.parts)
    installed.record(bare, places)
    assert installed.find("a", places) == bare
    assert installed.find("b", places) is None


def test_a_model_of_several_files(places: Paths) -> None:
    parts = (part(DIGEST, places), part(OTHER, places, b"GGUF 2"))
    several = Record(name="a", keys=("a",), parts=parts, projector=part("ef" * 32, places))
    installed.record(several, places)
    assert installed.find("a", places) == several
    assert several.size == 4 + 6 + 4
    assert several.sha256 not in (DIGEST, OTHER)
    assert several.sha256 != replace(several, parts=parts[::-1]).sha256
    # Not before its files lie under the names that llama.cpp knows.
    assert installed.lookup("a", places) is None
    several.path(places).parent.mkdir()
    for number, each in enumerate(parts, 1):
        assert installed.lookup("a", places) is None
        name = several.path(places).with_name(installed.split_name(number, 2))
        name.symlink_to(Path("..") / f"{each.sha256}.gguf")
    found = installed.lookup("a", places)
    assert found is not None
    assert found.path == f"{places.models}/{DIGEST}.split/model-00001-of-00002.gguf"
    for each in several.all_parts:
        path = installed.location(each.sha256, places)
        os.utime(path, ns=(0, 0))
        assert installed.lookup("a", places) is None
        os.utime(path, ns=(0, each.stamp.mtime_ns))
        assert installed.lookup("a", places) is not None


def test_forget(kept: Record, places: Paths) -> None:
    installed.record(replace(kept, name="c", keys=("c",)), places)
    installed.set_alias("mine", "b", places)
    installed.set_alias("other", "c", places)
    installed.forget("a", places)
    assert [each.name for each in installed.records(places)] == ["c"]
    assert installed.aliases(places) == {"other": "c"}
    installed.forget("a", places)
    assert [each.name for each in installed.records(places)] == ["c"]


def test_an_alias(model: ModelRef, places: Paths) -> None:
    installed.set_alias("Work", "A", places)
    assert installed.aliases(places) == {"work": "A"}
    assert installed.lookup("WORK", places) == model
    installed.set_alias("work", "nothing", places)
    assert installed.lookup("work", places) is None
    installed.set_alias("work", None, places)
    installed.set_alias("work", None, places)
    assert installed.aliases(places) == {}
    assert installed.lookup("a", places) == model


def test_the_lock_file_is_private_and_leaves_nothing_beside_it(
    model: ModelRef, places: Paths
) -> None:
    assert stat.S_IMODE(installed.lock_file(places).stat().st_mode) == 0o600
    assert stat.S_IMODE((places.models / "lock.json.lock").stat().st_mode) == 0o600
    assert {path.name for path in places.models.iterdir()} == {
        f"{DIGEST}.gguf",
        "lock.json",
        "lock.json.lock",
    }


def test_a_touched_file_is_a_miss(model: ModelRef, places: Paths) -> None:
    os.utime(model.path, ns=(0, 0))
    assert installed.lookup("a", places) is None
    assert installed.find("a", places) is not None


def test_a_file_that_is_gone_is_a_miss(model: ModelRef, places: Paths) -> None:
    Path(model.path).unlink()
    assert installed.lookup("a", places) is None


def test_another_localchat_is_a_miss(
    model: ModelRef, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localchat.registry.installed.__version__", "99")
    assert installed.lookup("a", places) is None


def test_a_lock_file_that_cannot_be_written_stays_as_it_was(
    kept: Record, model: ModelRef, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        installed.record(replace(kept, name="z", keys=("z",)), places)
    assert installed.lookup("z", places) is None
    assert installed.lookup("a", places) == model
    assert not list(places.models.glob("*.tmp"))


def test_the_lock_file_is_on_disk_before_it_gets_its_name(
    kept: Record, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replace_file = os.replace

    def record_replace(*names: Any) -> None:
        done.append("replace")
        replace_file(*names)

    monkeypatch.setattr(os, "fsync", lambda _: done.append("fsync"))
    monkeypatch.setattr(os, "replace", record_replace)
    installed.record(kept, places)
    assert done == ["fsync", "replace"]


RECORDING = """
import sys
from localchat import paths
from localchat.registry import installed
from localchat.registry.installed import Part, Record
from localchat.registry.files.verify import Stamp
print("ready", flush=True)
sys.stdin.readline()
for number in range(20):
    name = f"{sys.argv[1]}-{number}"
    parts = (Part("ab" * 32, Stamp(1, 1, 1)),)
    installed.record(Record(name=name, keys=(name,), parts=parts), paths.find())
"""


def test_processes_that_record_at_once_lose_nothing(places: Paths) -> None:
    command = [sys.executable, "-c", RECORDING]
    processes = [
        subprocess.Popen(
            [*command, str(number)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for number in range(8)
    ]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    names = {each.name for each in installed.records(places)}
    assert names == {f"{process}-{number}" for process in range(8) for number in range(20)}


def test_a_link_in_the_place_of_the_lock_is_refused(places: Paths, kept: Record) -> None:
    lock = places.models / "lock.json.lock"
    lock.unlink()
    lock.symlink_to(places.models / "victim")
    with pytest.raises(OSError, match=r"lock\.json\.lock"):
        installed.record(kept, places)
    assert not (places.models / "victim").exists()


def test_it_imports_no_third_party_module() -> None:
    code = (
        "import sys; before = set(sys.modules); import localchat.registry.installed\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(names - sys.stdlib_module_names))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["localchat"]
