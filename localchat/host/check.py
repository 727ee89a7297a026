"""Has llama.cpp read every weight of a model file, in a process of its own.

`check` is for callers. `python -m localchat.host.check PATH` is that process: it prints one JSON
object, `{"ok": true}` or `{"ok": false, "kind": ..., "reason": ...}`. llama.cpp ends its process
over some files, so that ending is an answer too.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from localchat import gguf
from localchat.errors import LocalchatError, ModelLoadFailed
from localchat.host import limits
from localchat.sanitize import escape

Kind = Literal["ok", "damaged", "unsupported", "refused"]

_UNSUPPORTED = re.compile(
    "GGUF of version|unknown model architecture|unknown (pre-)?tokenizer|invalid ggml type"
    "|encoder-decoder"
)
_DAMAGED = re.compile("invalid data|not within the file bounds")
_LAST_LINES = 4  # of llama.cpp's log: the cause, and those that pass it on
# How a process ends that meets what it did not expect; others have nothing to do with the file.
_FAULTS = {signal.SIGABRT, signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What came of reading a model file."""

    kind: Kind
    """damaged: bytes of it are wrong. unsupported: this llama.cpp can't run such a model, a newer
    one may. refused: it could not be read, and nothing is known of its bytes."""
    reason: str = ""
    """Part of a sentence, harmless for a terminal; empty if all is well."""


def check(path: Path, timeout: float | None = None) -> Verdict:
    """Reads the model at `path`, the first of its files if it is split.

    Takes about as long as reading the file does, and little memory: no layer goes to a GPU, and
    there is no context. After `timeout` seconds, or on Ctrl-C, the process is killed. A projector
    is no model of its own: llama.cpp does not know its architecture.
    """
    # -P: a file in the current folder must not be imported in a module's place.
    command = [sys.executable, "-P", "-m", "localchat.host.check", str(path)]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Verdict("refused", f"it could not be read within {timeout:g} seconds")
    if done.stdout:
        answer = json.loads(done.stdout)
        return Verdict("ok") if answer["ok"] else Verdict(answer["kind"], answer["reason"])
    if -done.returncode in _FAULTS:
        name = signal.Signals(-done.returncode).name
        return Verdict("damaged", f"llama.cpp ended with {name} while it read it")
    return Verdict("refused", f"the process that read it ended with status {done.returncode}")


def _main() -> None:
    path = Path(sys.argv[1]).absolute()
    # What llama.cpp prints itself must not come between.
    answer = os.dup(1)
    os.dup2(2, 1)
    limits.apply(answer)
    os.write(answer, json.dumps(_read(path)).encode())
    # As in the engine process: freeing the weights only takes time.
    os._exit(0)


def _read(path: Path) -> dict[str, Any]:
    log: list[str] = []
    try:
        gguf.read_file(path, whole=True)
    except ModelLoadFailed as error:
        if isinstance(error.__cause__, OSError):
            return _fault("refused", path, error)
        is_unsupported = _UNSUPPORTED.search(str(error))
        return _fault("unsupported" if is_unsupported else "damaged", path, error)
    try:
        # Not on top: the callers' processes must not load llama.cpp.
        from localchat.llama import library
        from localchat.llama.model import Model

        library.start(log.append)
        Model(str(path), check_tensors=True)
    except LocalchatError as error:
        said = "\n".join([*log[-_LAST_LINES:], str(error)])
        if _UNSUPPORTED.search(said):
            return _fault("unsupported", path, error)
        return _fault("damaged" if _DAMAGED.search(said) else "refused", path, error)
    return {"ok": True}


def _fault(kind: Kind, path: Path, error: LocalchatError) -> dict[str, Any]:
    said = str(error).removesuffix(".").replace(f"{path} is ", "it is ")
    return {"ok": False, "kind": kind, "reason": escape(said.partition(f"{path}: ")[2] or said)}


if __name__ == "__main__":
    _main()
