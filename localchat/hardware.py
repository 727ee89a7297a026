"""The processor and the GPUs of this machine, whether or not llama.cpp was built for them."""

from __future__ import annotations

import os
import platform
import re
import shlex
import sys
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_ROOT = Path("/")

# PCI vendors whose display controllers llama.cpp can use: the backend it takes, cmake's option for
# it, and all backends (as ggml calls them) that drive these GPUs.
_VENDORS = {
    "0x10de": ("NVIDIA", "CUDA", "-DGGML_CUDA=on", {"cuda", "vulkan"}),
    "0x1002": ("AMD", "ROCm", "-DGGML_HIP=on", {"rocm", "hip", "vulkan"}),
    "0x8086": ("Intel", "Vulkan", "-DGGML_VULKAN=on", {"sycl", "vulkan"}),
    "apple": ("Apple", "Metal", "-DGGML_METAL=on", {"metal", "mtl"}),
}
_DISPLAY, _ACCELERATOR = "0x03", "0x12"  # PCI classes

# What Linux calls an instruction set: what ggml calls it. Those that make a difference to speed.
_FEATURES = {
    "avx": "AVX",
    "avx2": "AVX2",
    "f16c": "F16C",
    "fma": "FMA",
    "avx_vnni": "AVX_VNNI",
    "avx512f": "AVX512",
    "avx512_vnni": "AVX512_VNNI",
    "avx512_bf16": "AVX512_BF16",
    "amx_int8": "AMX_INT8",
    "asimd": "NEON",
    "asimddp": "DOTPROD",
    "i8mm": "MATMUL_INT8",
    "sve": "SVE",
}


@dataclass(frozen=True, slots=True)
class Gpu:
    name: str
    vendor: str
    """As in `_VENDORS`."""
    backend: str
    """llama.cpp's backend for it."""
    option: str
    """What cmake is told to build that."""


@dataclass(frozen=True, slots=True)
class Machine:
    cpu: str
    processors: int
    """Hardware threads this process may run on."""
    flags: tuple[str, ...]
    """The processor's instruction sets, as Linux calls them; elsewhere unknown."""
    gpus: tuple[Gpu, ...]


def find(root: Path = _ROOT) -> Machine:
    """This machine. `root` is where /proc and /sys are looked for."""
    text = _read(root / "proc/cpuinfo")
    name = re.search(r"^(?:model name|Model)\s*: (.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.+)$", text, re.MULTILINE)
    if hasattr(os, "sched_getaffinity"):
        processors = len(os.sched_getaffinity(0))
    else:
        processors = os.cpu_count() or 1
    return Machine(
        cpu=name[1].strip() if name else platform.processor() or platform.machine(),
        processors=processors,
        flags=tuple(flags[1].split()) if flags else (),
        gpus=tuple(_gpus(root)),
    )


def unused_features(machine: Machine, compiled: Collection[str]) -> list[str]:
    """Instruction sets that the processor has and the build, which names its own, does not use."""
    return [
        name for flag, name in _FEATURES.items() if flag in machine.flags and name not in compiled
    ]


def unused_gpus(machine: Machine, backends: Iterable[str]) -> list[Gpu]:
    """GPUs that none of the build's backends drives."""
    built = {backend.lower() for backend in backends}
    return [gpu for gpu in machine.gpus if not built & _VENDORS[gpu.vendor][3]]


def binding_version() -> str | None:
    """The version of llama-cpp-python; None if it is not installed."""
    try:
        return version("llama-cpp-python")
    except PackageNotFoundError:
        return None


def rebuild_command(options: Sequence[str]) -> str:
    """The shell command that builds the installed llama-cpp-python anew, with cmake's `options`."""
    package = "llama-cpp-python" + (f"=={binding}" if (binding := binding_version()) else "")
    prefix, python = Path(sys.prefix), shlex.quote(sys.executable)
    if prefix.parent.name == "venvs" and "pipx" in prefix.parts:
        pip = f"pipx runpip {prefix.name} install --force-reinstall --no-deps --no-cache-dir"
    elif prefix.parent.name == "tools" and "uv" in prefix.parts:
        pip = f"uv pip install --python {python} --reinstall --no-deps --no-cache"
    else:
        pip = f"{python} -m pip install --force-reinstall --no-deps --no-cache-dir"
    # Without --no-binary a ready-made wheel, which heeds no options, might be taken.
    command = f"{pip} --no-binary llama-cpp-python {package}"
    return f'CMAKE_ARGS="{" ".join(options)}" {command}' if options else command


def _gpus(root: Path) -> Iterable[Gpu]:
    if sys.platform == "darwin" and platform.machine() == "arm64":
        yield _gpu("apple", "Apple GPU")
    nvidia = (_read(path) for path in sorted(root.glob("proc/driver/nvidia/gpus/*/information")))
    names = [found[1].strip() for text in nvidia if (found := re.search(r"Model:(.+)", text))]
    for device in sorted(root.glob("sys/bus/pci/devices/*")):
        kind = _read(device / "class").strip()
        vendor = _read(device / "vendor").strip()
        if vendor in _VENDORS and kind.startswith((_DISPLAY, _ACCELERATOR)):
            usual = f"{_VENDORS[vendor][0]} GPU (PCI {device.name})"
            yield _gpu(vendor, names.pop(0) if vendor == "0x10de" and names else usual)


def _gpu(vendor: str, name: str) -> Gpu:
    _, backend, option, _ = _VENDORS[vendor]
    return Gpu(name, vendor, backend, option)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace")
    except OSError:  # another system has none
        return ""
