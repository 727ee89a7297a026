from __future__ import annotations

import json

import pytest

from localchat.registry.installed import Record
from tests.registry.conftest import Sample
from tests.registry.hub import Hub

from .conftest import Done, Runner

OTHER = "a" * 64


def change(sample: Sample) -> None:
    manifest = sample.catalog / "tiny.toml"
    manifest.write_text(manifest.read_text().replace(sample.sha256, OTHER))


def test_nothing_is_installed(models: Runner) -> None:
    assert models("outdated") == Done(0, "", "No model is installed.\n")
    assert models("outdated", "--json") == Done(0, "[]\n", "")


def test_a_table(models: Runner, sample: Sample, mine: Record) -> None:
    sample.pull()
    current = f"mine  unknown    {mine.sha256[:12]}\ntiny  current    {sample.sha256[:12]}\n"
    assert models("outdated") == Done(0, current, "")
    change(sample)
    line = f"tiny  outdated   {sample.sha256[:12]}  {OTHER[:12]} by the catalogue\n"
    said = "To take over what is new: localchat pull tiny\n"
    assert models("outdated", "wee") == Done(0, line, said)
    (sample.catalog / "tiny.toml").unlink()
    line = f"tiny  withdrawn  {sample.sha256[:12]}\n"
    assert models("outdated", "tiny") == Done(0, line, "")


def test_json(models: Runner, sample: Sample) -> None:
    record = sample.pull().record
    change(sample)
    assert json.loads(models("outdated", "--json").out) == [
        {
            "name": "tiny",
            "state": "outdated",
            "installed": sample.sha256,
            "offered": OTHER,
            "by": "catalogue",
            "when": record.when,
        }
    ]


@pytest.mark.parametrize("how", ["flag", "LOCALCHAT_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_the_hub_is_not_asked(
    models: Runner, hub: Hub, mine: Record, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    if how != "flag":
        monkeypatch.setenv(how, "1")
    done = models("outdated", "--online", *(["--offline"] if how == "flag" else []))
    assert done == Done(
        6,
        "",
        "Error: The hub can't be asked: localchat is offline.\nTry: localchat models outdated\n",
    )
    assert hub.requests == []
