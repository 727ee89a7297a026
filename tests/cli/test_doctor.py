"""The doctor tells what is unused and how to use it, and survives whatever is broken."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from localchat import hardware, room
from localchat.cli import doctor, main
from localchat.hardware import Machine
from localchat.room import Room
from tests.conftest import CommandRunner

GPU = hardware.Gpu("NVIDIA H100", "0x10de", "CUDA", "-DGGML_CUDA=on")
BUILD = {
    "version": "1",
    "cpu_features": ["AVX", "AVX2"],
    "offloads": False,
    "devices": [
        {"name": "CPU", "description": "A CPU", "backend": "CPU", "kind": "cpu",
         "free": 10**9, "total": 2 * 10**9, "has_own_memory": False}
    ],
}  # fmt: skip


def test_a_real_machine(localchat: CommandRunner, installed_starter: Path) -> None:
    done = localchat("doctor")
    assert (done.returncode, done.stderr) == (0, "")
    rows = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if "  " in line.strip())
    assert rows["default"].startswith("smollm2-135m fits: ")
    assert rows["default"].endswith("8,192 tokens of context")
    assert rows["backend"].startswith("CPU: CPU, ")
    assert rows["models"] == "smollm2-135m"


def test_as_json(localchat: CommandRunner, home: Path) -> None:
    done = localchat("doctor", "--json")
    assert done.returncode == 0
    found = json.loads(done.stdout)
    assert found["folders"]["config"] == str(home)
    assert found["memory"]["memory"] > 0
    assert found["build"]["devices"][-1]["kind"] == "cpu"
    assert found["default_model"]["hint"] == "localchat pull smollm2-135m"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import os; os.abort()", "loading it ended with SIGABRT: it said nothing"),
        ("raise SystemExit('no libgomp')", "loading it ended with code 1: no libgomp"),
        ("raise RuntimeError('no symbol')", "can't be loaded: no symbol"),
    ],
)
def test_a_library_that_cannot_be_loaded_is_told_with_exit_code_1(
    localchat: CommandRunner, tmp_path: Path, code: str, said: str
) -> None:
    package = tmp_path / "broken" / "llama_cpp"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "llama_cpp.py").write_text(code)
    path = os.pathsep.join([str(package.parent), str(Path(__file__).parents[2])])
    done = localchat("doctor", env={"PYTHONPATH": path})
    assert done.returncode == 1
    assert "\nllama.cpp can't be loaded: " in done.stdout
    assert said in done.stdout
    assert "-m pip install --force-reinstall" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("answer", ["[]", "not json", ""])
def test_an_answer_that_is_none_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\necho '{answer}'\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    assert "error" in doctor._build()


def test_a_library_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    monkeypatch.setattr(doctor, "_PATIENCE", 0.1)
    assert doctor._build() == {"error": "it did not answer within 0.1 seconds"}


class TestAdvice:
    @pytest.fixture(autouse=True)
    def machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.patch = monkeypatch
        self.set(("avx", "avx2"))
        monkeypatch.setattr(doctor, "_build", lambda: BUILD)

    def set(self, flags: tuple[str, ...], *gpus: hardware.Gpu) -> None:
        machine = Machine("A CPU", 2, flags, gpus)
        self.patch.setattr(hardware, "find", lambda: machine)

    def report(self, capsys: pytest.CaptureFixture[str]) -> str:
        assert main.run(["doctor"]) == 0
        return capsys.readouterr().out

    def test_nothing_to_mend(
        self, installed_starter: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert self.report(capsys).endswith("\nEverything this machine has is in use.\n")

    def test_an_unused_gpu(
        self, installed_starter: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.set((), GPU)
        out = self.report(capsys)
        assert "\nNVIDIA H100 is not used: this build of llama.cpp has no CUDA.\n" in out
        assert '\n  CMAKE_ARGS="-DGGML_CUDA=on" ' in out
        assert out.rstrip().endswith(f"llama-cpp-python=={hardware.binding_version()}")

    def test_an_unused_feature_of_the_processor(
        self, installed_starter: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.set(("avx", "avx512f"))
        out = self.report(capsys)
        assert "\nThe processor has AVX512, which this build of llama.cpp does not use.\n" in out
        assert '\n  CMAKE_ARGS="-DGGML_NATIVE=on" ' in out

    def test_a_default_model_that_does_not_fit(
        self, installed_starter: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.patch.setattr(room, "find", lambda: Room(250 * 2**20, 0))
        self.patch.setenv("LOCALCHAT_CONTEXT", "8192")
        out = self.report(capsys)
        assert "\nsmollm2-135m needs 401 MB of memory for a context of 8,192 tokens" in out
        assert "LOCALCHAT_CONTEXT=" in out

    def test_the_memory_of_a_gpu_counts(
        self, installed_starter: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        gpu: dict[str, Any] = {**BUILD["devices"][0], "has_own_memory": True}  # type: ignore[index]
        self.patch.setattr(doctor, "_build", lambda: BUILD | {"devices": [gpu]})
        self.patch.setattr(room, "find", lambda: Room(0, 0))
        assert "smollm2-135m fits" in self.report(capsys)
        self.patch.setenv("LOCALCHAT_GPU_LAYERS", "0")
        assert "smollm2-135m needs" in self.report(capsys)

    def test_limits_and_swap_are_shown(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.patch.setattr(room, "find", lambda: Room(2 * 10**9, 10**9))
        self.patch.setattr(room, "cgroup_limits", lambda: iter([3 * 10**9, 2**63 - 4096]))
        out = self.report(capsys)
        assert "2.0 GB available, and 1.0 GB of swap\n" in out
        assert out.count("GB left in this control group") == 1
