"""`localchat models fit` and `recommend`: what is printed, on planted machines."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localchat import speeds
from localchat.cli import main
from localchat.paths import Paths
from localchat.registry.catalogue import catalog
from localchat.registry.fitting import capacity, contenders
from localchat.registry.fitting.capacity import Capacity
from tests.conftest import CommandRunner
from tests.registry.fitting.test_ranking import GB, MODEL

MACHINE = Capacity(memory=16 * GB, swap=0, vram=0, disk=100 * GB, bandwidth=50e9, threads=8)
MODELS = (
    replace(MODEL, name="good"),
    replace(MODEL, name="here", installed=True, parameters=4 * GB),
    replace(MODEL, name="guessed:q8_0", header=None, is_estimated=True, parameters=GB),
    replace(MODEL, name="huge", weights=50 * GB, download=50 * GB),
    replace(MODEL, name="vectors", kind="embedding", weights=GB // 10, parameters=1000),
)

TABLE = """\
16.0 GB of memory, read at 50.0 GB/s; no VRAM; 100.0 GB of disk free

name          quant      size    needs  tokens/s  verdict
good          Q4_K_M   5.0 GB   5.8 GB      ~6.6  fits
here          Q4_K_M   5.0 GB   5.8 GB      ~6.6  fits, installed
guessed:q8_0  Q4_K_M  ~5.0 GB  ~6.5 GB      ~6.5  fits
vectors       Q4_K_M   5.0 GB   949 MB         -  fits
huge          Q4_K_M  50.0 GB  50.8 GB      ~0.7  no: memory short by 34.8 GB
"""

RECOMMENDED = """\
good
It is the best of 3 chat models that fit into memory and write at reading speed here: it needs \
5.8 GB with 4,096 tokens of context, and should write about 13 tokens/s.
To download it:
  localchat pull good
"""

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Capacity], None]:
    def plant(planted: Capacity) -> None:
        monkeypatch.setattr(capacity, "find", lambda *_: planted)

    plant(MACHINE)
    return plant


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """A catalogue of a few models."""
    monkeypatch.setattr(contenders, "contenders", lambda _: list(MODELS))


@pytest.fixture
def run(
    machine: object, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Run:
    monkeypatch.setattr("sys.stdin", None)

    def of(*arguments: str) -> tuple[int, str, str]:
        code = main.run(["models", *arguments])
        said = capsys.readouterr()
        return code, said.out, said.err

    return of


def rows(said: str) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in json.loads(said)["models"]}


@pytest.mark.usefixtures("few")
class TestFit:
    def test_the_table(self, run: Run) -> None:
        assert run("fit") == (0, TABLE, "")

    def test_what_the_gpu_has_is_said(self, run: Run, machine: Callable[[Capacity], None]) -> None:
        machine(replace(MACHINE, vram=20 * GB, bandwidth=None))
        first, _, _, good, *_ = run("fit")[1].splitlines()
        assert first == "16.0 GB of memory; 20.0 GB of VRAM; 100.0 GB of disk free"
        assert good.split() == ["good", "Q4_K_M", "5.0", "GB", "5.8", "GB", "-", "fits"]
        machine(replace(MACHINE, vram=20 * GB))
        assert ">14  fits" in run("fit")[1]

    def test_as_json(self, run: Run) -> None:
        code, said, errors = run("fit", "--json")
        assert (code, errors, said.count("\n")) == (0, "", 1)
        found = json.loads(said)
        assert found["machine"] == {
            "memory": 16 * GB,
            "swap": 0,
            "vram": 0,
            "disk": 100 * GB,
            "bandwidth": 50e9,
            "threads": 8,
        }
        assert [row["name"] for row in found["models"]] == [
            "good", "here", "guessed:q8_0", "vectors", "huge",
        ]  # fmt: skip
        first = found["models"][0]
        needs = first.pop("needs")
        assert needs["total"] == needs["weights"] + needs["kv_cache"] + needs["compute"]
        assert first == {
            "name": "good",
            "quantization": "Q4_K_M",
            "kind": "chat",
            "parameters": 8 * GB,
            "released": "2025-01",
            "licence": None,
            "licence_note": None,
            "pinned": True,
            "installed": False,
            "size": 5 * GB,
            "context": 4096,
            "estimated": False,
            "tokens_per_second": 6.6,
            "speed_basis": "expected",
            "verdict": "fits",
            "reasons": [],
        }
        assert (rows(said)["here"]["installed"], rows(said)["guessed:q8_0"]["estimated"]) == (
            True,
            True,
        )
        assert rows(said)["huge"]["verdict"] == "no"
        assert rows(said)["vectors"]["tokens_per_second"] is None

    def test_ctx(self, run: Run) -> None:
        found = rows(run("fit", "--json", "--ctx", "8193")[1])
        assert found["good"]["reasons"] == ["trained for 8,192 tokens"]
        assert found["good"]["context"] == 8193

    def test_settings_count_as_they_would_for_an_engine(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        usual = rows(run("fit", "--json")[1])["good"]["needs"]["kv_cache"]
        monkeypatch.setenv("LOCALCHAT_KV_TYPE", "q8_0")
        assert rows(run("fit", "--json")[1])["good"]["needs"]["kv_cache"] == usual * 34 // 64

    def test_a_speed_that_was_measured_is_not_marked(self, run: Run, places: Paths) -> None:
        places.speeds.mkdir(parents=True)
        kept = {"format": 1, "decode": [[12.34, 100]], "prefill": []}
        key = speeds.key(MODEL.speed_key, "")
        (places.speeds / f"{key}.json").write_text(json.dumps(kept))
        assert "   12  fits\n" in run("fit")[1]
        assert rows(run("fit", "--json")[1])["good"]["speed_basis"] == "measured"


class TestFitOfTheRealCatalogue:
    def test_uses_no_network(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: Any, **__: Any) -> None:
            raise AssertionError("a socket was opened")

        monkeypatch.setattr(socket, "socket", refuse)
        code, said, _ = run("fit", "--json")
        assert code == 0
        assert set(rows(said)) == {entry.name for entry in catalog.entries()}
        assert run("recommend")[0] == 0

    def test_what_fits_has_lines_for_a_narrow_terminal(
        self, run: Run, machine: Callable[[Capacity], None]
    ) -> None:
        machine(replace(MACHINE, memory=100 * GB))
        lines = run("fit")[1].splitlines()
        assert len(lines) > 60
        assert max(map(len, lines)) <= 80

    def test_one_model_with_what_its_memory_is_for(self, run: Run) -> None:
        code, said, errors = run("fit", "QWEN3", "smollm2-135m")
        assert (code, errors) == (0, "")
        names = [line.split()[0] for line in said.splitlines() if line]
        assert names == ["16.0", "name", "qwen3-4b", "smollm2-135m", "qwen3-4b:", "smollm2-135m:"]
        assert (
            "\nqwen3-4b: weights 2.5 GB, KV cache 604 MB for 4,096 tokens, computing 355 MB\n"
            in said
        )

    def test_a_file(self, run: Run, tiny: Callable[..., Path]) -> None:
        path = tiny(context_length=512)
        (row,) = json.loads(run("fit", "--json", str(path))[1])["models"]
        assert (row["name"], row["context"], row["verdict"]) == (str(path), 512, "fits")
        assert row["installed"]

    @pytest.mark.parametrize(
        ("arguments", "code", "said"),
        [
            (("qwen9",), 3, "Error: There is no model called 'qwen9'."),
            (("Maker/Model:Q4_0", "--offline"), 6, "Try: localchat models fit Maker/Model:Q4_0"),
            (("--ctx", "0"), 2, "--ctx"),
        ],
    )
    def test_what_can_not_be_asked(
        self, run: Run, arguments: tuple[str, ...], code: int, said: str
    ) -> None:
        found = run("fit", *arguments)
        assert found[:2] == (code, "")
        assert said in found[2]

    def test_the_whole_process(self, localchat: CommandRunner, places: Paths) -> None:
        done = localchat("models", "fit", "--json")
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["machine"]["bandwidth"] > 1e8
        assert (places.cache / "bandwidth.json").is_file()


class TestRecommend:
    @pytest.mark.usefixtures("few")
    def test_one_to_download(self, run: Run, machine: Callable[[Capacity], None]) -> None:
        machine(replace(MACHINE, bandwidth=100e9))
        assert run("recommend") == (0, RECOMMENDED, "")

    def test_one_that_is_there(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(contenders, "contenders", lambda _: [MODELS[1]])
        said = run("recommend")[1]
        assert said.endswith("\nIt is installed already.\n  localchat -m here …\n")

    def test_a_licence_that_has_to_be_read(self, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
        limited = replace(MODELS[0], licence="Own", licence_note="Not for commercial use.")
        monkeypatch.setattr(contenders, "contenders", lambda _: [limited])
        assert "\nLicence: Own. Not for commercial use.\n" in run("recommend")[1]

    @pytest.mark.usefixtures("few")
    def test_as_json(self, run: Run) -> None:
        found = json.loads(run("recommend", "--json")[1])
        assert found["command"] == f"localchat pull {found['name']}"
        assert found["reason"].startswith("No chat model that fits is expected")
        assert found["verdict"] == "fits"

    def test_no_room_for_any(self, run: Run, machine: Callable[[Capacity], None]) -> None:
        machine(replace(MACHINE, memory=GB // 10))
        code, said, errors = run("recommend")
        assert (code, said) == (5, "")
        assert errors.endswith("Try: localchat models fit\n")
