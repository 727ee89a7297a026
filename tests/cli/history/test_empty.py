"""Before the first conversation: what only looks makes no file."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from localchat.paths import Paths

from .conftest import Done, Runner

BEGIN = 'localchat "Why is the sky blue?"\n'


@pytest.mark.parametrize("arguments", ["list", "search sky", "stats"])
def test_there_is_nothing_to_see(history: Runner, home: Path, arguments: str) -> None:
    note = f"There is no conversation yet. To begin one: {BEGIN}"
    assert history(*arguments.split()) == Done(0, "", note)
    assert not home.exists()


@pytest.mark.parametrize(
    "arguments",
    ["show", "show abcd", "tree", "rename abcd New", "rm -y abcd", "export", "export abcd"],
)
def test_there_is_nothing_to_take(history: Runner, home: Path, arguments: str) -> None:
    done = history(*arguments.split())
    assert done == Done(3, "", f"Error: There is no conversation yet.\nTry: Begin one: {BEGIN}")
    assert not home.exists()


def test_programs_get_empty_answers(history: Runner, home: Path) -> None:
    assert json.loads(history("list", "--json").out) == []
    assert json.loads(history("search", "x", "--json").out) == []
    assert json.loads(history("export", "--all", "--json").out) == []
    assert json.loads(history("stats", "--json").out)["conversations"] == 0
    purged = json.loads(history("purge", "--older-than", "1d", "--json", "-y").out)
    assert (purged["conversations"], purged["freed"]) == (0, 0)
    assert not home.exists()


def test_where_it_will_be(history: Runner, places: Paths, home: Path) -> None:
    assert history("path") == Done(0, f"{places.history}\n", "")
    assert json.loads(history("path", "--json").out) == {
        "path": str(places.history),
        "exists": False,
    }
    assert not home.exists()


def test_a_history_that_was_emptied(history: Runner, filled: None) -> None:
    assert history("purge", "--older-than", "0d", "-y").code == 0
    assert history("list").err == f"There is no conversation yet. To begin one: {BEGIN}"
    assert history("show", "-").code == 3
