from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.paths import Paths
from localchat.registry import installed
from tests.conftest import CommandRunner
from tests.registry.planted import spoil, write_projector, write_split

from .conftest import Done, Runner

Tiny = Callable[..., Path]


@pytest.fixture
def model(tiny: Tiny, tmp_path: Path) -> Path:
    path = tmp_path / "My Model.gguf"
    shutil.copyfile(tiny(), path)
    return path


@pytest.mark.parametrize("flag", [(), ("--link",), ("--copy",), ("--move",)])
def test_a_file(models: Runner, model: Path, places: Paths, flag: tuple[str, ...]) -> None:
    done = models("import", str(model), *flag)
    assert done == Done(0, "my-model\n", "To use it: localchat -m my-model …\n")
    record = installed.find("my-model", places)
    assert record is not None
    assert record.path(places).is_symlink() is (flag in ((), ("--link",)))
    assert model.exists() is (flag != ("--move",))


def test_json(models: Runner, model: Path, places: Paths) -> None:
    done = models("import", str(model), "--name", "mine", "--json")
    record = installed.find("mine", places)
    assert record is not None
    assert json.loads(done.out) == {
        "name": "mine",
        "path": str(record.path(places)),
        "sha256": record.sha256,
        "size": record.size,
        "origin": "import",
    }
    assert done.err == ""


def test_it_answers(localchat: CommandRunner, tmp_path: Path) -> None:
    """A split model, as a real process imports and another one runs it."""
    files = write_split(tmp_path / "a folder")
    projector = write_projector(tmp_path / "mmproj.gguf")
    done = localchat("models", "import", str(files[1]), "--projector", str(projector))
    assert (done.returncode, done.stdout) == (0, "tiny\n")
    done = localchat("-m", "tiny", "hi", "--max-tokens", "3", "--json")
    assert (done.returncode, json.loads(done.stdout)["model"]) == (0, "tiny")


@pytest.mark.parametrize("flag", ["--link", "--copy", "--move"])
def test_damaged_weights(models: Runner, model: Path, flag: str) -> None:
    spoil(model)
    done = models("import", str(model), flag)
    assert (done.code, done.out) == (4, "")
    assert done.err.startswith(f"Error: {model} is damaged: ")
    assert done.err.endswith("Try: get the file again from where it comes from\n")
    assert model.exists()
    assert models("list", "--installed").out == ""


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("nothing.gguf", 2, "Error: There is no file {path}.\n"),
        (".", 2, "Error: {path} is a folder without a bundle in it.\n"),
        ("text.gguf", 1, "Error: localchat can't load {path}: "),
    ],
)
def test_refused(models: Runner, tmp_path: Path, name: str, code: int, said: str) -> None:
    (tmp_path / "text.gguf").write_text("no model")
    path = tmp_path / name
    done = models("import", str(path))
    assert (done.code, done.out) == (code, "")
    assert done.err.startswith(said.format(path=path))


def test_a_name_that_is_taken(models: Runner, model: Path) -> None:
    done = models("import", str(model), "--name", "starter", "--move")
    assert done == Done(
        2,
        "",
        "Error: starter is the name of another model, and this file is not that model.\n"
        "Try: the same command with --name ANOTHER-NAME\n",
    )
    assert model.exists()


def test_a_bundle_has_its_own_projector(models: Runner, model: Path, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "model.json").write_text("{}")
    folder = str(tmp_path / "bundle")
    done = models("import", folder, "--projector", str(model))
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Error: A bundle brings its own projector.")
    done = models("import", folder)
    assert done.code == 2
    assert "model.json does not describe a model: format: Field required." in done.err
