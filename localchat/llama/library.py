"""Loads the shared library and sends its log to a function of ours."""

from __future__ import annotations

import ctypes
import importlib.util
import sys
import types
from collections.abc import Callable
from typing import Any

from localchat.errors import EngineFailed

_DEBUG, _INFO, _WARN, _ERROR, _CONTINUED = 1, 2, 3, 4, 5

_log_callback: Any = None  # kept: ctypes frees a callback that nothing refers to
_last_errors: list[str] = []


def _import_bindings() -> Any:
    """The low-level bindings, without the package's `__init__`.

    That one imports the high-level interface, and with it numpy, jinja2 and diskcache: 0.35 s
    against 0.1 s here, on every cold start, for classes this project does not use.
    """
    if "llama_cpp" not in sys.modules:
        spec = importlib.util.find_spec("llama_cpp")
        if spec is None or spec.submodule_search_locations is None:
            raise EngineFailed(
                "The package llama-cpp-python is not installed.",
                "pip install llama-cpp-python",
            )
        package = types.ModuleType("llama_cpp")
        package.__path__ = list(spec.submodule_search_locations)
        package.__spec__ = spec
        sys.modules["llama_cpp"] = package
    try:
        import llama_cpp.llama_cpp as bindings
    except (RuntimeError, OSError, FileNotFoundError) as error:
        raise EngineFailed(
            f"llama.cpp's library can't be loaded: {error}",
            "pip install --force-reinstall --no-cache-dir llama-cpp-python",
        ) from error
    return bindings


C = _import_bindings()


def start(log: Callable[[str], None]) -> None:
    """Initialises llama.cpp once. `log` gets each whole line of its log, without the newline.

    Lines below level INFO are dropped. The text is raw: it may hold control characters out of a
    model file's metadata, so `log` must escape it.
    """
    global _log_callback
    partial: list[str] = []
    level_in_force = _INFO

    def receive(level: int, text: bytes | None, _: object) -> None:
        nonlocal level_in_force
        if level != _CONTINUED:
            level_in_force = level
        if text is None or level_in_force <= _DEBUG:
            return
        partial.append(text.decode("utf-8", "replace"))
        if not partial[-1].endswith("\n"):
            return
        line = "".join(partial).rstrip("\n")
        partial.clear()
        if level_in_force == _ERROR:
            _last_errors.append(line)
            del _last_errors[:-3]
        log(line)

    _log_callback = C.llama_log_callback(receive)
    C.llama_log_set(_log_callback, None)
    C.llama_backend_init()


def forget_errors() -> None:
    """Before something is tried: what `reason` says after it is then about nothing else."""
    _last_errors.clear()


def reason() -> str:
    """Why something just failed, in llama.cpp's words.

    Of the last few lines it logged as errors the first names the cause, the others pass it on.
    The names of C++ functions in front are dropped.
    """
    if not _last_errors:
        return "it gave no reason"
    return _last_errors[0].partition(": ")[2].removeprefix("error loading model: ")


def build_info() -> str:
    """llama.cpp's version and the CPU features it was built with."""
    return f"llama.cpp {C.llama_version().decode()} {C.llama_print_system_info().decode()}"


def call_with_buffer(
    function: Callable[[Any, int], int], size: int, kind: Any = ctypes.c_char
) -> Any:
    """Calls `function(buffer, size)`, once more with the size it asks for, and cuts the buffer.

    llama.cpp's convention for output of unknown length: a negative result is the size needed.
    """
    buffer = (kind * size)()
    written = function(buffer, size)
    if written < 0:
        size = -written
        buffer = (kind * size)()
        written = function(buffer, size)
    return buffer[: max(written, 0)]
