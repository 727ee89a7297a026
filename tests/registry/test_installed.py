from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from localchat import __version__
from localchat.paths import Paths, make_private
from localchat.registry import installed, verify
from localchat.types import ModelRef

DIGEST = "ab" * 32


@pytest.fixture
def model(places: Paths) -> ModelRef:
    """A model whose file is there and recorded as `a` and `b`."""
    make_private(places.models)
    path = installed.location(DIGEST, places)
    path.write_bytes(b"GGUF")
    ref = ModelRef(
        name="a",
        path=str(path),
        sha256=DIGEST,
        chat_template="{{ x }}",
        sampling=(("temperature", 0.2), ("top_k", 3)),
    )
    installed.record(ref, ("a", "b", "a:q4_0"), verify.stamp(path), places)
    return ref


def index(places: Paths) -> Path:
    return places.models / "installed.json"


def test_round_trip(model: ModelRef, places: Paths) -> None:
    for name in ("a", "A", "b", "a:Q4_0"):
        assert installed.lookup(name, places) == model
    assert installed.lookup("c", places) is None


def test_a_second_record_keeps_the_first(model: ModelRef, places: Paths) -> None:
    plain = ModelRef(name="c", path=model.path, sha256=DIGEST)
    installed.record(plain, ("c",), verify.stamp(Path(model.path)), places)
    assert installed.lookup("c", places) == plain
    assert installed.lookup("a", places) == model


def test_the_index_is_private_and_leaves_nothing_beside_it(model: ModelRef, places: Paths) -> None:
    assert stat.S_IMODE(index(places).stat().st_mode) == 0o600
    assert {path.name for path in places.models.iterdir()} == {f"{DIGEST}.gguf", "installed.json"}


def test_a_touched_file_is_a_miss(model: ModelRef, places: Paths) -> None:
    os.utime(model.path, ns=(0, 0))
    assert installed.lookup("a", places) is None


def test_a_file_that_is_gone_is_a_miss(model: ModelRef, places: Paths) -> None:
    Path(model.path).unlink()
    assert installed.lookup("a", places) is None


def test_another_localchat_is_a_miss(
    model: ModelRef, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localchat.registry.installed.__version__", "99")
    assert installed.lookup("a", places) is None


def test_an_index_that_cannot_be_written_is_no_failure(
    model: ModelRef, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    installed.record(model, ("z",), verify.stamp(Path(model.path)), places)
    assert installed.lookup("z", places) is None
    assert installed.lookup("a", places) == model
    assert not list(places.models.glob("*.tmp"))


def test_the_index_is_on_disk_before_it_gets_its_name(
    model: ModelRef, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    replace = os.replace

    def record_replace(*names: Any) -> None:
        done.append("replace")
        replace(*names)

    monkeypatch.setattr(os, "fsync", lambda _: done.append("fsync"))
    monkeypatch.setattr(os, "replace", record_replace)
    installed.record(model, ("a",), verify.stamp(Path(model.path)), places)
    assert done == ["fsync", "replace"]


def odd(**changes: Any) -> dict[str, Any]:
    good = {
        "name": "a",
        "sha256": DIGEST,
        "size": 4,
        "mtime_ns": 0,
        "inode": 0,
        "chat_template": None,
        "sampling": {},
        "version": __version__,
    }
    return {"a": good | changes}


@pytest.mark.parametrize(
    "content",
    [
        [],
        None,
        {"a": None},
        {"a": []},
        {"a": {}},
        {"a": "version"},
        odd(name=1),
        odd(sha256=None),
        odd(sha256="../../../etc/passwd"),
        odd(sha256="AB" * 32),
        odd(chat_template=0),
        odd(chat_template=["x"]),
        odd(sampling=[]),
        odd(sampling={"heat": 1}),
        odd(sampling={"__class__": 1}),
        odd(sampling={"stop": 1}),
        odd(sampling={"top_k": 0.5}),
        odd(sampling={"top_k": True}),
        odd(sampling={"temperature": "0.1"}),
        odd(sampling={"temperature": float("nan")}),
        odd(sampling={"temperature": float("inf")}),
        odd(sampling={"temperature": 10**400}),
    ],
)
def test_an_odd_record_is_a_miss(model: ModelRef, places: Paths, content: Any) -> None:
    if isinstance(content, dict) and isinstance(content.get("a"), dict) and content["a"]:
        content["a"] |= verify.stamp(Path(model.path))._asdict()
    index(places).write_text(json.dumps(content))
    assert installed.lookup("a", places) is None


def test_the_odd_records_are_odd_in_one_thing_only(model: ModelRef, places: Paths) -> None:
    content = odd(**verify.stamp(Path(model.path))._asdict())
    index(places).write_text(json.dumps(content))
    assert installed.lookup("a", places) is not None


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"[]", id="list"),
        pytest.param(b"{", id="half"),
        pytest.param(b"\xff\xfe", id="not-utf8"),
        pytest.param(b"\x00" * 9, id="zeros"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", id="huge-number"),
    ],
)
def test_what_is_no_index_is_a_miss_and_is_replaced(
    model: ModelRef, places: Paths, content: bytes
) -> None:
    index(places).write_bytes(content)
    assert installed.lookup("a", places) is None
    installed.record(model, ("a",), verify.stamp(Path(model.path)), places)
    assert installed.lookup("a", places) == model


def test_a_folder_a_fifo_or_nothing_is_a_miss(model: ModelRef, places: Paths) -> None:
    index(places).unlink()
    assert installed.lookup("a", places) is None
    index(places).mkdir()
    assert installed.lookup("a", places) is None
    index(places).rmdir()
    os.mkfifo(index(places))
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
    index(places).write_bytes(raw)
    assert installed.lookup("a", places) is None


@EXISTING_FIELDS
@given(changes=st.dictionaries(FIELDS, VALUES, max_size=3), missing=st.sets(FIELDS, max_size=2))
def test_any_record_is_a_miss_or_a_model_of_the_store(
    model: ModelRef, places: Paths, changes: dict[str, Any], missing: set[str]
) -> None:
    content = odd(**(verify.stamp(Path(model.path))._asdict() | changes))
    for name in missing:
        del content["a"][name]
    index(places).write_text(json.dumps(content))
    found = installed.lookup("a", places)
    assert found is None or (found.path == model.path and not missing)


def test_it_imports_no_third_party_module() -> None:
    code = (
        "import sys; before = set(sys.modules); import localchat.registry.installed\n"
        "names = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(*sorted(names - sys.stdlib_module_names))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["localchat"]
