"""Whatever the lock file holds, nothing is raised and nothing outside the store is named."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localchat import __version__
from localchat.paths import Paths, make_private
from localchat.registry import installed
from localchat.registry.files import verify
from localchat.registry.files.verify import Stamp
from localchat.registry.installed import Part, Record
from localchat.types import ModelRef

DIGEST = "ab" * 32


@pytest.fixture
def kept(places: Paths) -> Record:
    """A model whose file is there and recorded as `a`."""
    make_private(places.models)
    path = installed.location(DIGEST, places)
    path.write_bytes(b"GGUF")
    made = Record(name="a", keys=("a",), parts=(Part(DIGEST, verify.stamp(path)),))
    installed.record(made, places)
    return made


@pytest.fixture
def model(kept: Record, places: Paths) -> ModelRef:
    return kept.model(places)


def write(places: Paths, models: Any, **rest: Any) -> None:
    content = {"format": 1, "models": models, "aliases": {}} | rest
    installed.lock_file(places).write_text(json.dumps(content))


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
    [aside] = places.models.glob("lock.json.damaged-*")
    assert aside.read_bytes() == content


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
    written = json.loads(installed.lock_file(places).read_text())["models"]["a"]
    assert written.keys() == odd()["a"].keys()
    assert written["version"] == __version__
