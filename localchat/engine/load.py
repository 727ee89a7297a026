"""Puts an engine together from a model file. Takes seconds for large models."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localchat.engine.allocation import allocate
from localchat.engine.snapshots import SnapshotStore
from localchat.snapshot_files import default_budget
from localchat.types import LoadOptions, ModelRef

if TYPE_CHECKING:
    from localchat.engine.engine import Engine


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    engine: Engine
    has_chat_template: bool
    load_seconds: float
    build: str = ""
    template_sha256: str | None = None


def load(
    model: ModelRef,
    options: LoadOptions,
    log: Callable[[str], None],
    snapshots: Path | None = None,
) -> LoadedEngine:
    """Loads the model and allocates its context; `log` gets llama.cpp's own lines, raw.

    `snapshots` is the folder for saved conversations; None saves none.
    Raises what `allocate` raises, ConfigError for a draft model that does not fit. Some damaged
    files end the process.
    """
    start = time.monotonic()
    weights, context, prompts = allocate(model, options, log)
    # Imported here: the engine process listens before, and `allocate` does it beside the weights.
    from localchat.engine.assemble import assemble

    store = _store(model, options, snapshots, log) if snapshots else None
    engine = assemble(weights, context, prompts, options, store)
    from localchat.llama.library import build_info

    source = prompts.template_source
    return LoadedEngine(
        engine,
        source is not None,
        time.monotonic() - start,
        build_info(),
        hashlib.sha256(source.encode()).hexdigest() if source is not None else None,
    )


def _store(
    model: ModelRef, options: LoadOptions, folder: Path, log: Callable[[str], None]
) -> SnapshotStore:
    """The snapshots that this model, this build of llama.cpp and these options can use."""
    from localchat.llama.library import build_info

    file: object = model.sha256
    if file is None:  # its content is not known; that it is the same file will do
        found = Path(model.path).stat()
        file = [model.path, found.st_size, found.st_mtime_ns, found.st_ino]
    same = json.dumps([file, build_info(), options.kv_type, options.gpu_layers])
    budget = options.snapshot_budget
    if budget is None:
        budget = default_budget(folder)
    key = hashlib.sha256(same.encode()).hexdigest()
    return SnapshotStore(folder, key, budget, model=model.name, log=log)
