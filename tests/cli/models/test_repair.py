from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.installed import Record
from tests.registry.hub import Hub
from tests.registry.planted import FILE, REPO, files_of, flip, on_hub, put

from .conftest import Done, Runner

Tiny = Callable[..., Path]
NAME = f"{REPO}:Q4_K_M"


@pytest.fixture
def record(hub: Hub, places: Paths, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> Record:
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
    sha256 = hub.add(REPO, FILE, tiny())
    sources = {sha256: [on_hub(revision=hub.commit(REPO))]}
    return put(
        places, tiny().read_bytes(), name=NAME, keys=(NAME.lower(),), origin="hub", sources=sources
    )


def test_nothing_is_damaged(models: Runner, record: Record) -> None:
    assert models("repair", NAME) == Done(0, f"{NAME}: nothing is damaged.\n", _seen(record))
    done = models("repair", NAME, "--json")
    assert json.loads(done.out) == {"name": NAME, "repaired": [], "fetched": 0}


def _seen(record: Record) -> str:
    """Progress on a pipe: the file was read in one go."""
    return f"Repairing {NAME}: 100% of {record.size / 1e6:,.0f} MB\n"


def test_it_is_repaired(models: Runner, record: Record, places: Paths, hub: Hub) -> None:
    (path,) = files_of(record, places)
    flip(path, 50)
    done = models("repair", NAME.lower())
    assert done.code == 0
    assert done.out == f"{NAME}: repaired; 0.4 MB were fetched.\n"
    assert "Fetching the whole file, 0.4 MB …" in done.err
    assert installed.lookup(NAME, places) is not None
    assert sum(hub.sent.values()) == record.size


def test_json(models: Runner, record: Record, places: Paths) -> None:
    (path,) = files_of(record, places)
    path.unlink()
    done = models("repair", NAME, "--json")
    told = json.loads(done.out)
    assert (told["name"], told["fetched"]) == (NAME, record.size)
    assert [finding["state"] for finding in told["repaired"]] == ["missing"]


@pytest.mark.parametrize("how", ["flag", "LOCALCHAT_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline(
    models: Runner,
    record: Record,
    places: Paths,
    hub: Hub,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    files_of(record, places)[0].unlink()
    if how != "flag":
        monkeypatch.setenv(how, "1")
    done = models("repair", NAME, *(["--offline"] if how == "flag" else []))
    assert (done.code, done.out) == (6, "")
    assert done.err == (
        f"Error: {NAME} is damaged, and localchat is offline: nothing can be fetched.\n"
        f"Try: localchat models repair {NAME} (with offline mode off)\n"
    )
    assert hub.requests == []


def test_an_imported_model(models: Runner, mine: Record, places: Paths) -> None:
    files_of(mine, places)[0].unlink()
    assert models("repair", "mine") == Done(
        3,
        "",
        "Error: mine was imported, so there is nowhere to fetch it from.\n"
        "Try: localchat models import PATH --name mine\n",
    )
