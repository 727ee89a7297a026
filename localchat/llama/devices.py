"""What the installed build of llama.cpp can compute on, and with which instructions.

`python -m localchat.llama.devices` prints it as one JSON object: for callers that must outlive a
library that can't be loaded.
"""

from __future__ import annotations

import ctypes
import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from localchat.errors import EngineFailed

# `C` is imported where it is used, so that a library that can't be loaded is a JSON answer too.

Kind = Literal["cpu", "gpu", "integrated gpu", "accelerator"]
# Apple's GPUs work in the machine's memory, though ggml calls them discrete.
_SHARING = {"metal", "mtl"}
_KINDS: dict[int, Kind] = {0: "cpu", 1: "gpu", 2: "integrated gpu"}  # enum ggml_backend_dev_type


@dataclass(frozen=True, slots=True)
class Device:
    """One device of a backend. Memory in bytes; a CPU's is the machine's."""

    name: str
    description: str
    backend: str
    kind: Kind
    free: int
    total: int

    @property
    def has_own_memory(self) -> bool:
        """Whether layers computed there leave the machine's own memory."""
        return self.kind == "gpu" and self.backend.lower() not in _SHARING


def devices() -> list[Device]:
    """All devices, in ggml's order: GPUs come before the CPU."""
    from localchat.llama.library import C

    ggml = _functions(C._lib)
    return [_device(ggml, ggml["get"](index)) for index in range(ggml["count"]())]


def gpus() -> list[Device]:
    """Devices that layers can be put on; none where the build can't, whatever the machine has."""
    from localchat.llama.library import C

    if not C.llama_supports_gpu_offload():
        return []
    return [device for device in devices() if device.kind in ("gpu", "integrated gpu")]


def cpu_features() -> list[str]:
    """The instruction sets the CPU backend was compiled for, in ggml's names (AVX2, NEON ...)."""
    from localchat.llama.library import C

    info = C.llama_print_system_info().decode("utf-8", "replace")
    return re.findall(r"(\w+) = 1", info)


def _device(ggml: dict[str, Any], handle: int) -> Device:
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    ggml["memory"](handle, ctypes.byref(free), ctypes.byref(total))
    return Device(
        name=_text(ggml["name"](handle)),
        description=_text(ggml["description"](handle)),
        backend=_text(ggml["reg_name"](ggml["backend_reg"](handle))),
        kind=_KINDS.get(ggml["type"](handle), "accelerator"),
        free=free.value,
        total=total.value,
    )


def _functions(library: ctypes.CDLL) -> dict[str, Any]:
    """ggml's device functions, which the bindings leave out.

    They are in libraries that libllama is linked with, where the loader finds them.
    """
    pointer, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t
    kinds: dict[str, tuple[str, Any, list[Any]]] = {
        "count": ("ggml_backend_dev_count", size, []),
        "get": ("ggml_backend_dev_get", pointer, [size]),
        "name": ("ggml_backend_dev_name", text, [pointer]),
        "description": ("ggml_backend_dev_description", text, [pointer]),
        "type": ("ggml_backend_dev_type", ctypes.c_int, [pointer]),
        "backend_reg": ("ggml_backend_dev_backend_reg", pointer, [pointer]),
        "reg_name": ("ggml_backend_reg_name", text, [pointer]),
        "memory": (
            "ggml_backend_dev_memory", None,
            [pointer, ctypes.POINTER(size), ctypes.POINTER(size)],
        ),
    }  # fmt: skip
    found = {}
    for name, (symbol, result, arguments) in kinds.items():
        function = getattr(library, symbol)
        function.restype, function.argtypes = result, arguments
        found[name] = function
    return found


def _text(value: bytes | None) -> str:
    return (value or b"?").decode("utf-8", "replace")


def report() -> dict[str, Any]:
    """All of this as plain values, with llama.cpp's version. Raises EngineFailed."""
    from localchat.llama import library

    library.start(lambda _: None)
    return {
        "version": library.C.llama_version().decode(),
        "cpu_features": cpu_features(),
        "devices": [
            asdict(device) | {"has_own_memory": device.has_own_memory} for device in devices()
        ],
        "offloads": bool(library.C.llama_supports_gpu_offload()),
    }


if __name__ == "__main__":
    try:
        print(json.dumps(report()))
    except EngineFailed as error:
        print(json.dumps({"error": str(error), "hint": error.hint}))
