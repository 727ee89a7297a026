from __future__ import annotations

import json
from pathlib import Path

from localchat.paths import Paths

from .conftest import Done, Runner


def test_of_a_model(models: Runner, installed_starter: Path) -> None:
    for name in ("smollm2", "STARTER", "smollm2-135m:q4_1"):
        assert models("path", name) == Done(0, f"{installed_starter}\n", "")
    found = {"name": "smollm2", "path": str(installed_starter)}
    assert json.loads(models("path", "smollm2", "--json").out) == found


def test_of_the_models_folder(models: Runner, places: Paths) -> None:
    assert models("path") == Done(0, f"{places.models}\n", "")
    assert json.loads(models("path", "--json").out) == {"name": None, "path": str(places.models)}


def test_of_what_is_not_installed(models: Runner) -> None:
    done = models("path", "gemma3")
    assert (done.code, done.out) == (3, "")
    assert done.err.endswith("Try: localchat pull gemma3-270m\n")
