"""Which module may import which: downwards only, and what is costly in one place only."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "localchat"
BASE = {
    "answer_form",
    "types",
    "modes",
    "events",
    "errors",
    "sanitize",
    "paths",
    "config",
    "__init__",
    "snapshot_files",
    "gguf",
    "gguf_cursor",
    "fit",
    "cgroups",
    "room",
    "presets",
    "shortened",
    "bandwidth",
    "speeds",
}
PURE = {
    "cells",
    "completion",
    "detokenizer",
    "group",
    "intake",
    "markers",
    "offload",
    "overflow",
    "reasoning",
    "scheduled",
    "scheduler",
    "sequence",
    "slots",
    "speculation",
    "threads",
}  # of the engine
BELOW = {
    "llama": set[str](),
    "engine": {"llama"},
    "host": {"llama", "engine"},
    "client": {"llama", "engine", "host"},
    "registry": {"llama", "engine", "host"},
    "store": {"llama", "engine", "host"},
    "session": {"client", "registry", "store", "host"},
}
FRONT_ENDS = {"cli", "tui", "batch", "library"}
# A batch is a library of its own, and the command a front of it; another command opens the screen.
FRONTS_OF = {"cli": {"batch", "tui"}}
ONLY_IN = {
    "llama_cpp": {"llama"},
    "textual": {"tui"},
    "huggingface_hub": {"registry"},
    "httpx2": {"registry"},
    "apsw": {"store", "batch"},
    "llguidance": {"llama"},
}
THIRD_PARTY_IN_BASE = {"paths": {"platformdirs"}, "config": {"pydantic"}}


def imported(source: str, package: str) -> Iterator[str]:
    """Dotted names that a module of `package` imports, anywhere in it."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")
            base = parents[: len(parents) + 1 - node.level] if node.level else []
            whole = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{whole}.{alias.name}" for alias in node.names)


def faults(path: Path, source: str) -> list[str]:
    """What the module `path`, relative to the package, imports and must not."""
    layer = path.parts[0].removesuffix(".py")
    package = ".".join(["localchat", *path.parts[:-1]])
    return [name for name in imported(source, package) if not may_import(path, layer, name)]


def may_import(path: Path, layer: str, name: str) -> bool:
    top, _, inner = name.partition(".")
    if top != "localchat":
        if layer in BASE:
            allowed = THIRD_PARTY_IN_BASE.get(layer, set())
            return top in sys.stdlib_module_names or top == "__future__" or top in allowed
        return layer in ONLY_IN.get(top, {layer})
    target = inner.split(".")[0]
    if target == layer or target in BASE or (layer, target) == ("__init__", "library"):
        return True
    if target not in FRONT_ENDS and not (PACKAGE / target).is_dir():
        return True  # a name of localchat/__init__.py, such as __version__
    if layer == "engine" and path.stem in PURE and target == "llama":
        return False
    if layer in FRONT_ENDS:
        others = FRONT_ENDS - {layer} - FRONTS_OF.get(layer, set())
        return target not in others and target not in {"llama", "engine"}
    return target in BELOW.get(layer, set())


def test_every_import_points_downwards() -> None:
    found = {
        str(path.relative_to(PACKAGE)): wrong
        for path in PACKAGE.rglob("*.py")
        if (wrong := faults(path.relative_to(PACKAGE), path.read_text("utf-8")))
    }
    assert found == {}


def test_huggingface_hub_has_one_importer_at_most() -> None:
    importers = [
        path
        for path in PACKAGE.rglob("*.py")
        if any(name.startswith("huggingface_hub") for name in imported(path.read_text(), ""))
    ]
    assert len(importers) <= 1


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        ("host/server.py", "import llama_cpp"),
        ("host/server.py", "from localchat.client import launcher"),
        ("host/server.py", "from ..client.launcher import open_engine"),
        ("client/launcher.py", "from localchat.registry.resolve import resolve"),
        ("registry/resolve.py", "def f():\n    from localchat import client"),
        ("registry/resolve.py", "if TYPE_CHECKING:\n    from localchat.cli import output"),
        ("cli/ask.py", "import textual.app"),
        ("cli/ask.py", "from localchat.llama.model import Model"),
        ("client/launcher.py", "import huggingface_hub"),
        ("engine/scheduler.py", "from localchat.llama.batch import Batch"),
        ("llama/model.py", "from localchat.engine.engine import Engine"),
        ("types.py", "import numpy"),
        ("errors.py", "from localchat.host import protocol"),
        ("cli/ask.py", "from localchat import library"),
        ("batch/run_of_rows.py", "from localchat.cli import output"),
        ("batch/run_of_rows.py", "from localchat.engine.engine import Engine"),
        ("client/launcher.py", "import apsw"),
        ("session/session.py", "from localchat.library import ask"),
        ("library.py", "from localchat.cli import output"),
        ("library.py", "from localchat.engine.engine import Engine"),
    ],
)
def test_a_planted_import_is_found(module: str, planted: str) -> None:
    source = (PACKAGE / module).read_text("utf-8")
    assert faults(Path(module), f"{source}\n{planted}\n")
