from __future__ import annotations

import json
from pathlib import Path

from localchat.paths import Paths
from localchat.registry.installed import Record
from tests.registry.conftest import Sample

from .conftest import Done, Runner


def test_what_is_installed_is_marked(models: Runner, installed_starter: Path) -> None:
    done = models("list")
    lines = {line.split()[0]: line for line in done.out.splitlines()}
    assert lines["NAME"].split() == ["NAME", "KIND", "WEIGHTS", "QUANT", "SIZE", "LICENCE"]
    assert lines["smollm2-135m"].split() == [
        *("smollm2-135m", "chat", "135", "M", "Q4_1", "98", "MB", "installed", "Apache-2.0"),
    ]
    assert "installed" not in lines["gemma3-270m"]
    told = {row["name"]: row for row in json.loads(models("list", "--json").out)}
    assert told["smollm2-135m"]["path"] == str(installed_starter)
    assert told["gemma3-270m"]["path"] is None


def test_only_what_is_installed(models: Runner, sample: Sample, mine: Record) -> None:
    header = "NAME  KIND       WEIGHTS  QUANT          SIZE             LICENCE\n"
    shown = f"{header}mine  import           ?  F32            0 MB  installed  ?\n"
    assert models("list", "--installed") == Done(0, shown, "")
    assert [row["name"] for row in json.loads(models("list", "-i", "--json").out)] == ["mine"]


def test_nothing_is_installed(models: Runner, places: Paths) -> None:
    said = "No model is installed. To get one: localchat pull NAME\n"
    assert models("list", "-i") == Done(0, "", said)
    assert models("list", "-i", "--json") == Done(0, "[]\n", "")
