"""What a run is, as its manifest says: what may not change, and what else can be wrong with it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from localchat.batch.beside import changes, folder_of, is_at_work, manifest_of
from localchat.batch.plan import Plan
from localchat.errors import LocalchatError, UsageError
from localchat.session.options import Options
from localchat.types import ModelRef, SamplingParams
from tests.batch import Engine, batch, begin

pytestmark = pytest.mark.usefixtures("home")

HASHED = ModelRef("qwen", "/nowhere", "a" * 64)


def of(model: ModelRef, **params: Any) -> dict[str, Any]:
    return Plan(model, Options(SamplingParams(**params)), "csv", "{text}").to_json()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "in.csv"
    path.write_text("text\none\n")
    return path


def test_what_changed_is_named_with_both_values() -> None:
    before, now = of(HASHED, temperature=0.5), of(HASHED, temperature=1.0, stop=("x",))
    assert changes(before, now) == [
        'stop was [], is ["x"] now',
        "temperature was 0.5, is 1.0 now",
    ]
    long = {"prompt": "x" * 100}
    assert changes(long, {"prompt": "y"}) == [f'prompt was "{"x" * 56}…, is "y" now']


def test_a_model_is_its_content(tmp_path: Path) -> None:
    other = ModelRef("qwen", "/nowhere", "b" * 64)
    renamed = ModelRef("mine", "/elsewhere", "a" * 64)
    assert changes(of(HASHED), of(renamed)) == []
    said = "model was qwen (aaaaaaaaaaaa…), is qwen (bbbbbbbbbbbb…) now"
    assert changes(of(HASHED), of(other)) == [said]


def test_a_model_that_nobody_has_hashed_is_what_it_looks_like(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"x" * 1000)
    model = ModelRef(str(path), str(path))
    before = of(model)
    assert changes(before, of(model)) == []
    os.utime(path, (1, 1))
    (said,) = changes(before, of(model))
    assert said.startswith(f"model was {path} (1,000 bytes")


def test_the_manifest_says_what_was_asked(table: Path) -> None:
    import hashlib

    out = table.with_name("out.csv")
    batch(table, out, prompt="Say {text}", temperature=0.3)
    found = json.loads((folder_of(out) / "manifest.json").read_text())
    assert found["parameters"]["prompt"] == "Say {text}"
    assert found["parameters"]["temperature"] == 0.3
    assert found["parameters"]["model"]["sha256"] == "0" * 64
    assert found["input"]["path"] == str(table)
    assert found["input"]["rows"] == 1
    assert found["input"]["sha256"] == hashlib.sha256(table.read_bytes()).hexdigest()
    assert folder_of(out).stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("data", [b"{", b"[]", b"{}", b"\xff", b'{"format": 1, "parameters": 3}'])
def test_a_damaged_manifest_is_said(table: Path, data: bytes) -> None:
    out = table.with_name("out.csv")
    batch(table, out)
    (folder_of(out) / "manifest.json").write_bytes(data)
    with pytest.raises(LocalchatError, match="can't be read") as caught:
        begin(table, out, Engine())
    assert caught.value.hint is not None
    assert not is_at_work(out)
    batch(table, out, restart=True)
    assert manifest_of(out) is not None


def test_one_of_a_newer_version(table: Path) -> None:
    out = table.with_name("out.csv")
    batch(table, out)
    path = folder_of(out) / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2, "version": "9.0"}))
    with pytest.raises(LocalchatError, match=r"was written by localchat 9.0, a newer one"):
        begin(table, out, Engine())


def test_a_damaged_journal_is_said(table: Path) -> None:
    out = table.with_name("out.csv")
    batch(table, out)
    (folder_of(out) / "rows.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(LocalchatError, match="The record of the batch can't be read"):
        begin(table, out, Engine())
    assert not is_at_work(out)
    # Whose output that is can't be told: it has to go first.
    with pytest.raises(UsageError, match="exists already, so it is left alone"):
        begin(table, out, Engine(), restart=True)
    out.unlink()
    batch(table, out, restart=True)
