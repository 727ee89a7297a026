"""Machines made of files: what they have, what a build leaves unused, and how to build anew."""

from __future__ import annotations

import shlex
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from localchat import hardware

CPUINFO = """processor\t: 0
model name\t: A Processor 9000
flags\t\t: fpu sse2 avx avx2 f16c fma avx512f avx512_vnni

processor\t: 1
model name\t: A Processor 9000
flags\t\t: fpu
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(tmp_path / "proc/cpuinfo", CPUINFO)
    return tmp_path


def write(path: Path, content: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)


def add_pci(root: Path, address: str, kind: str, vendor: str) -> None:
    write(root / f"sys/bus/pci/devices/{address}/class", f"{kind}\n")
    write(root / f"sys/bus/pci/devices/{address}/vendor", f"{vendor}\n")


def test_the_processor(root: Path) -> None:
    machine = hardware.find(root)
    assert machine.cpu == "A Processor 9000"
    assert "avx512_vnni" in machine.flags
    assert machine.processors >= 1
    assert machine.gpus == ()


def test_a_machine_that_does_not_say(tmp_path: Path) -> None:
    machine = hardware.find(tmp_path)
    assert machine.cpu
    assert machine.flags == ()
    assert hardware.unused_features(machine, []) == []


def test_features_that_the_build_leaves_unused(root: Path) -> None:
    machine = hardware.find(root)
    everything = ["AVX", "AVX2", "F16C", "FMA", "AVX512", "AVX512_VNNI", "OPENMP"]
    assert hardware.unused_features(machine, everything) == []
    assert hardware.unused_features(machine, everything[:4]) == ["AVX512", "AVX512_VNNI"]


def test_gpus_are_found_by_class_and_vendor(root: Path) -> None:
    add_pci(root, "0000:00:02.0", "0x030000", "0x8086")
    add_pci(root, "0000:01:00.0", "0x030200", "0x10de")
    add_pci(root, "0000:02:00.0", "0x120000", "0x1002")
    add_pci(root, "0000:03:00.0", "0x030000", "0x1a03")  # of a server's console
    add_pci(root, "0000:04:00.0", "0x020000", "0x8086")  # a network card
    write(
        root / "proc/driver/nvidia/gpus/0000:01:00.0/information", "Model: \t NVIDIA H100\nIRQ: 9"
    )
    found = hardware.find(root).gpus
    assert [(gpu.name, gpu.backend, gpu.option) for gpu in found] == [
        ("Intel GPU (PCI 0000:00:02.0)", "Vulkan", "-DGGML_VULKAN=on"),
        ("NVIDIA H100", "CUDA", "-DGGML_CUDA=on"),
        ("AMD GPU (PCI 0000:02:00.0)", "ROCm", "-DGGML_HIP=on"),
    ]


@pytest.mark.parametrize(
    ("backends", "unused"),
    [
        (["CPU"], ["Intel", "NVIDIA"]),
        (["CUDA", "CPU"], ["Intel"]),
        (["SYCL", "CPU"], ["NVIDIA"]),
        (["Vulkan", "CPU"], []),
        ([], ["Intel", "NVIDIA"]),
    ],
)
def test_a_gpu_is_unused_when_no_backend_drives_it(
    root: Path, backends: list[str], unused: list[str]
) -> None:
    add_pci(root, "0000:00:02.0", "0x030000", "0x8086")
    add_pci(root, "0000:01:00.0", "0x030200", "0x10de")
    found = hardware.unused_gpus(hardware.find(root), backends)
    assert [gpu.name.split()[0] for gpu in found] == unused


def test_an_apple_machine_has_metal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr("platform.machine", lambda: "arm64")
    machine = hardware.find(tmp_path)
    assert [gpu.backend for gpu in machine.gpus] == ["Metal"]
    assert hardware.unused_gpus(machine, ["CPU", "BLAS", "MTL"]) == []
    assert hardware.unused_gpus(machine, ["CPU", "Metal"]) == []


class TestRebuildCommand:
    @pytest.fixture(autouse=True)
    def version(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hardware, "version", lambda _: "0.3.36")
        monkeypatch.setattr(sys, "executable", "/a b/bin/python")

    @pytest.mark.parametrize(
        ("prefix", "start"),
        [
            ("/a b", ["/a b/bin/python", "-m", "pip", "install", "--force-reinstall"]),
            ("/h/.local/pipx/venvs/localchat", ["pipx", "runpip", "localchat", "install"]),
            ("/h/.local/share/uv/tools/localchat", ["uv", "pip", "install", "--python"]),
        ],
    )
    def test_it_fits_the_installation(
        self, prefix: str, start: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys, "prefix", prefix)
        words = shlex.split(hardware.rebuild_command(["-DGGML_CUDA=on"]))
        assert words[0] == "CMAKE_ARGS=-DGGML_CUDA=on"
        assert words[1 : len(start) + 1] == start
        assert words[-1] == "llama-cpp-python==0.3.36"

    def test_without_options_it_only_installs_anew(self) -> None:
        assert shlex.split(hardware.rebuild_command([]))[0] == "/a b/bin/python"

    def test_without_a_version_it_takes_the_newest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(hardware, "binding_version", lambda: None)
        assert hardware.rebuild_command([]).endswith(" llama-cpp-python")


def test_a_binding_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(hardware, "version", missing)
    assert hardware.binding_version() is None
