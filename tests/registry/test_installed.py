from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localchat import __version__
from localchat.paths import Paths, make_private
from localchat.registry import installed, verify
from localchat.registry.installed import Part, Record
from localchat.registry.verify import Stamp
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


def written(places: Paths) -> Any:
    return json.loads(installed.lock_file(places).read_text())


def write(places: Paths, models: Any, **rest: Any) -> None:
    content = {"format": 1, "models": models, "aliases": {}} | rest
    installed.lock_file(places).write_text(json.dumps(content))


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
from localchat.registry.verify import Stamp
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
        process.communicate("go\n", timeout=60)
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


def odd(**changes: Any) -> dict[str, Any]:
    good = asdict(Record(name="a", keys=("a",), parts=(Part(DIGEST, Stamp(4, 0, 0)),)))
    return {"a": good | changes}


def with_stamp(models: Any, places: Paths) -> Any:
    """The same, but for the stamp of its file: it is the right one."""
    seen = verify.stamp(installed.location(DIGEST, places))
    text = json.dumps(models).replace(json.dumps([4, 0, 0]), json.dumps(seen))
    return json.loads(text)


PART = {"sha256": DIGEST, "stamp": [4, 0, 0]}
ODD: list[Any] = [
    {"a": None},
    {"a": []},
    {"a": {}},
    {"a": "keys"},
    {"a": {"keys": ["a"]}},
    odd(name=1),
    odd(keys=None),
    odd(keys=7),
    odd(keys=[]),
    odd(keys="a"),
    odd(keys={"a": 1}),
    odd(keys=["a", 1]),
    odd(parts=[]),
    odd(parts=None),
    odd(parts=[DIGEST]),
    odd(parts=[PART | {"sha256": None}]),
    odd(parts=[PART | {"sha256": "../../../etc/passwd"}]),
    odd(parts=[PART | {"sha256": "AB" * 32}]),
    odd(parts=[PART | {"stamp": None}]),
    odd(parts=[PART | {"stamp": [4, 0]}]),
    odd(parts=[PART | {"stamp": [4.0, 0, 0]}]),
    odd(projector="x"),
    odd(projector={"sha256": "x", "stamp": [4, 0, 0]}),
    odd(origin=None),
    odd(origin="elsewhere"),
    odd(origin=["hub"]),
    odd(sources=[]),
    odd(sources="x"),
    odd(sources={DIGEST: "x"}),
    odd(sources={DIGEST: ["x"]}),
    odd(served=1),
    odd(when=None),
    odd(licence=1),
    odd(quantization=4),
    odd(template_sha256=1),
    odd(chat_template=0),
    odd(chat_template=["x"]),
    odd(sampling=None),
    odd(sampling={}),
    odd(sampling=[["heat", 1]]),
    odd(sampling=[["__class__", 1]]),
    odd(sampling=[["stop", 1]]),
    odd(sampling=[["top_k"]]),
    odd(sampling=[[["top_k"], 1]]),
    odd(sampling=[["top_k", 0.5]]),
    odd(sampling=[["top_k", True]]),
    odd(sampling=[["temperature", "0.1"]]),
    odd(sampling=[["temperature", float("nan")]]),
    odd(sampling=[["temperature", float("inf")]]),
    odd(sampling=[["temperature", 10**400]]),
]


@pytest.mark.parametrize("content", ODD)
def test_an_odd_record_is_none(kept: Record, places: Paths, content: Any) -> None:
    write(places, with_stamp(content, places))
    assert installed.lookup("a", places) is None
    assert installed.find("a", places) is None
    assert installed.records(places) == []
    installed.set_alias("mine", "b", places)
    installed.forget("a", places)
    installed.record(kept, places)
    assert installed.records(places) == [kept]


@pytest.mark.parametrize("content", [odd(), odd(sources={}), odd(sources={DIGEST: [{}]})])
def test_the_odd_records_are_odd_in_one_thing_only(
    kept: Record, places: Paths, content: Any
) -> None:
    write(places, with_stamp(content, places))
    assert installed.lookup("a", places) is not None


DAMAGED = [
    pytest.param(b"", id="empty"),
    pytest.param(b"[]", id="list"),
    pytest.param(b"null", id="null"),
    pytest.param(b"{", id="half"),
    pytest.param(b"\xff\xfe", id="not-utf8"),
    pytest.param(b"\x00" * 9, id="zeros"),
    pytest.param(b"[" * 100_000, id="deep"),
    pytest.param(b'{"a": ' + b"9" * 5000 + b"}", id="huge-number"),
    pytest.param(b'{"format": 2, "models": {}, "aliases": {}}', id="another-format"),
    pytest.param(b'{"format": 1, "models": [], "aliases": {}}', id="models-is-a-list"),
    pytest.param(b'{"format": 1, "models": {}, "aliases": 5}', id="aliases-is-a-number"),
    pytest.param(b'{"format": 1, "models": {}}', id="no-aliases"),
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_lock_file_is_moved_aside(
    kept: Record, model: ModelRef, places: Paths, content: bytes
) -> None:
    installed.lock_file(places).write_bytes(content)
    assert installed.lookup("a", places) is None
    assert installed.records(places) == []
    assert installed.aliases(places) == {}
    assert installed.lock_file(places).read_bytes() == content, "looking changes nothing"
    installed.record(kept, places)
    assert installed.lookup("a", places) == model
    assert (places.models / "lock.json.damaged").read_bytes() == content


def test_a_folder_a_fifo_or_nothing_is_a_miss(model: ModelRef, places: Paths) -> None:
    lock = installed.lock_file(places)
    lock.unlink()
    assert installed.lookup("a", places) is None
    lock.mkdir()
    assert installed.lookup("a", places) is None
    lock.rmdir()
    os.mkfifo(lock)
    assert installed.lookup("a", places) is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
FIELDS = st.sampled_from(sorted(odd()["a"]))
EXISTING_FIELDS = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@EXISTING_FIELDS
@given(raw=st.binary(max_size=60) | st.builds(lambda v: json.dumps(v).encode(), VALUES))
def test_any_file_is_a_miss(model: ModelRef, places: Paths, raw: bytes) -> None:
    installed.lock_file(places).write_bytes(raw)
    assert installed.lookup("a", places) is None


@EXISTING_FIELDS
@given(models=VALUES, aliases=VALUES, name=st.sampled_from(["a", "", "keys"]))
def test_any_models_and_aliases_are_a_miss(
    model: ModelRef, places: Paths, models: Any, aliases: Any, name: str
) -> None:
    write(places, models, aliases=aliases)
    assert installed.lookup(name, places) is None
    assert installed.records(places) == []


@EXISTING_FIELDS
@given(changes=st.dictionaries(FIELDS, VALUES, max_size=3), missing=st.sets(FIELDS, max_size=2))
def test_any_record_is_a_miss_or_a_model_of_the_store(
    model: ModelRef, places: Paths, changes: dict[str, Any], missing: set[str]
) -> None:
    content = odd(**changes)
    for name in missing:
        del content["a"][name]
    write(places, with_stamp(content, places))
    found = installed.lookup("a", places)
    assert found is None or (found.path == model.path and not missing)
    assert len(installed.records(places)) <= 1


def test_the_record_that_is_written_is_what_the_tests_above_change(
    kept: Record, places: Paths
) -> None:
    assert written(places)["models"]["a"].keys() == odd()["a"].keys()
    assert written(places)["models"]["a"]["version"] == __version__


def test_it_imports_no_third_party_module() -> None:
    code = (
        "import sys; before = set(sys.modules); import localchat.registry.installed\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(names - sys.stdlib_module_names))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["localchat"]
