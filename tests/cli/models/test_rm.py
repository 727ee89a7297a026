from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat.paths import Paths
from localchat.registry import installed
from localchat.registry.files import locks
from localchat.registry.installed import Record
from tests.cli.terminal import on_terminal
from tests.client import open_model
from tests.registry.planted import content, files_of, put, write_split

from .conftest import Done, Runner

Tiny = Callable[..., Path]


def test_with_yes(models: Runner, mine: Record, places: Paths) -> None:
    assert models("rm", "-y", "MINE") == Done(0, "Removed mine: 0.4 MB are free now.\n", "")
    assert installed.records(places) == []
    assert not files_of(mine, places)[0].exists()


def test_several_and_json(models: Runner, mine: Record, places: Paths) -> None:
    put(places, content(), name="other", keys=("other",))
    done = models("rm", "--yes", "other", "mine", "other", "--json")
    assert done.code == 0
    told = json.loads(done.out)
    assert [each["name"] for each in told] == ["other", "mine"]
    assert told[1]["freed"] >= mine.size


def test_a_script_has_to_say_yes(models: Runner, mine: Record, places: Paths) -> None:
    assert models("rm", "mine") == Done(
        2,
        "",
        "Error: There is no terminal to ask on whether to remove it.\n"
        "Try: localchat models rm -y mine\n",
    )
    assert installed.lookup("mine", places) is not None


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
class TestOnATerminal:
    @pytest.mark.parametrize(
        ("typed", "code", "said"),
        [
            (b"y\n", 0, b"Removed mine: 0.4 MB are free now.\r\n"),
            (b"n\n", 0, b"Nothing was removed.\r\n"),
            (b"\n", 0, b"Nothing was removed.\r\n"),
            (b"\x03", 130, b"^C\r\n"),
        ],
    )
    def test_it_asks(
        self, mine: Record, places: Paths, typed: bytes, code: int, said: bytes
    ) -> None:
        done, written = on_terminal("models", "rm", "mine", answer=(b"]: ", typed))
        assert done == code
        assert b"Remove mine (0.4 MB)? [y/N]: " in written
        assert written.endswith(said)
        assert files_of(mine, places)[0].exists() is (typed != b"y\n")

    def test_of_a_link_it_says_that_the_file_stays(
        self, mine: Record, places: Paths, tmp_path: Path
    ) -> None:
        (path,) = files_of(mine, places)
        foreign = path.rename(tmp_path / "theirs.gguf")
        path.symlink_to(foreign)
        _, written = on_terminal("models", "rm", "mine", answer=(b"]: ", b"y\n"))
        assert b"Remove mine (a link; the file stays)?" in written
        assert foreign.exists()
        assert not path.is_symlink()


class TestInUse:
    def test_by_an_engine(self, models: Runner, mine: Record, places: Paths) -> None:
        (path,) = files_of(mine, places)
        client = open_model(path)
        done = models("rm", "-y", "mine")
        assert (done.code, done.out) == (1, "")
        assert done.err == (
            f"Error: mine is in use by an engine (process {client.info.pid}).\n"
            f"Try: localchat stop {path}\n"
        )
        assert path.exists()

    def test_as_a_draft(self, models: Runner, mine: Record, places: Paths, tiny: Tiny) -> None:
        (path,) = files_of(mine, places)
        client = open_model(tiny(seed=2), draft=str(path))
        done = models("rm", "-y", "mine")
        assert done.code == 1
        assert f"(process {client.info.pid})" in done.err
        assert path.exists()

    def test_through_a_link(
        self, models: Runner, mine: Record, places: Paths, tmp_path: Path
    ) -> None:
        (path,) = files_of(mine, places)
        foreign = path.rename(tmp_path / "theirs.gguf")
        path.symlink_to(foreign)
        client = open_model(foreign)
        assert f"(process {client.info.pid})" in models("rm", "-y", "mine").err

    def test_one_that_is_split(self, models: Runner, places: Paths, tmp_path: Path) -> None:
        files = [path.read_bytes() for path in write_split(tmp_path / "split")]
        record = put(places, *files)
        client = open_model(record.path(places))
        assert f"(process {client.info.pid})" in models("rm", "-y", "model").err

    def test_an_engine_of_another_model_is_no_obstacle(
        self, models: Runner, mine: Record, tiny: Tiny
    ) -> None:
        open_model(tiny(seed=2))
        assert models("rm", "-y", "mine").code == 0

    def test_by_a_pull(self, models: Runner, mine: Record, places: Paths) -> None:
        with locks.held(files_of(mine, places)[0]):
            done = models("rm", "-y", "mine")
        assert done.code == 1
        assert done.err == (
            "Error: mine is being downloaded right now.\nTry: end that download first (Ctrl-C)\n"
        )
        assert installed.lookup("mine", places) is not None


def test_of_several_none_goes_if_one_can_not(models: Runner, mine: Record, places: Paths) -> None:
    done = models("rm", "-y", "mine", "nobody")
    assert done.code == 3
    assert installed.lookup("mine", places) is not None
