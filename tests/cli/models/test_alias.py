from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.registry.installed import Record
from tests.conftest import CommandRunner
from tests.registry.conftest import Sample
from tests.registry.hub import hub as hub

from .conftest import Done, Runner

Tiny = Callable[..., Path]


def test_there_are_none(models: Runner) -> None:
    said = "There are no aliases. To make one: localchat models alias ALIAS NAME\n"
    assert models("alias") == Done(0, "", said)
    assert models("alias", "--json") == Done(0, "{}\n", "")


def test_made_listed_and_removed(models: Runner, mine: Record) -> None:
    assert models("alias", "Z", "mine") == Done(0, "", "")
    assert json.loads(models("alias", "q4", "Qwen3-4B", "--json").out) == {
        "q4": "Qwen3-4B",
        "z": "mine",
    }
    assert models("alias") == Done(0, "q4  Qwen3-4B\nz  mine\n", "")
    assert models("alias", "--rm", "Q4") == Done(0, "", "")
    assert models("alias") == Done(0, "z  mine\n", "")


def test_it_works_wherever_a_name_does(
    localchat: CommandRunner, models: Runner, mine: Record
) -> None:
    models("alias", "m", "mine")
    assert models("verify", "m").out == "mine: ok, 0.4 MB\n"
    assert models("path", "M").out == models("path", "mine").out
    assert models("show", "m").out == models("show", "mine").out
    done = localchat("-m", "m", "hi", "--max-tokens", "2", "--json")
    assert (done.returncode, json.loads(done.stdout)["model"]) == (0, "mine")


def test_of_what_is_not_installed(models: Runner, sample: Sample) -> None:
    models("alias", "t", "wee")
    done = models("path", "t")
    assert (done.code, done.err) == (
        3,
        "Error: The model tiny is not installed.\nTry: localchat pull tiny\n",
    )
    assert models("pull", "t").code == 0
    assert models("path", "t").out == f"{sample.installed}\n"


def test_of_a_file(models: Runner, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """It means the same in every folder."""
    monkeypatch.chdir(tiny().parent)
    models("alias", "f", f"./{tiny().name}")
    monkeypatch.chdir("/")
    assert models("path", "f") == Done(0, f"{tiny()}\n", "")
    assert models("alias", "g", "./nothing.gguf").code == 3


def test_of_an_alias(models: Runner, mine: Record) -> None:
    models("alias", "a", "mine")
    models("alias", "b", "A")
    models("alias", "--rm", "a")
    assert models("alias").out == "b  mine\n"


def test_it_goes_with_its_model(models: Runner, mine: Record) -> None:
    models("alias", "a", "MINE")
    models("rm", "-y", "a")
    assert models("alias").out == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("starter", "mine"), 2, "Error: starter is the name of a model already."),
        (("MINE", "qwen3-4b"), 2, "Error: mine is the name of a model already."),
        (("a/b", "mine"), 2, "Error: 'a/b' can't be an alias"),
        (("a\x1b[0m", "mine"), 2, "Error: 'a\\x1b[0m' can't be an alias"),
        (("a", "nobody"), 3, "Error: There is no model called 'nobody'."),
        (("a",), 2, "Error: Say which model the alias is for."),
        (("--rm",), 2, "Error: Name the alias to remove, and nothing else."),
        (("--rm", "a", "b"), 2, "Error: Name the alias to remove, and nothing else."),
        (("--rm", "a"), 3, "Error: There is no alias 'a'."),
    ],
)
def test_refused(
    models: Runner, mine: Record, arguments: tuple[str, ...], code: int, said: str
) -> None:
    done = models("alias", *arguments)
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(said)
    assert models("alias").out == ""
