"""The other commands, and what no command may import."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from localchat import __version__
from localchat.cli.commands import group
from localchat.client.engines import running
from localchat.config import Settings
from localchat.host.endpoint import Endpoint
from localchat.paths import Paths
from tests.cli.terminal import COMMAND, on_terminal
from tests.client import open_model, patch_engines
from tests.conftest import CommandRunner

Tiny = Callable[..., Path]
COSTLY = {"textual", "pydantic", "huggingface_hub", "rich", "llama_cpp", "numpy", "jinja2"}
COSTLY |= {"llguidance", "jsonschema"}


class TestPsAndStop:
    def test_nothing_runs(self, localchat: CommandRunner) -> None:
        for arguments in (("ps",), ("stop", "--all")):
            done = localchat(*arguments)
            assert (done.returncode, done.stdout) == (0, "")
            assert done.stderr == "No engine is running.\n"
        assert json.loads(localchat("ps", "--json").stdout) == []

    def test_an_engine_is_listed_and_stopped(
        self, localchat: CommandRunner, tiny: Tiny, places: Paths
    ) -> None:
        columns = ["MODEL", "PID", "STATE", "CONTEXT", "MEMORY", "REQUESTS", "LEAVES"]
        one, two = open_model(tiny()), open_model(tiny(seed=2))
        lines = localchat("ps").stdout.splitlines()
        assert lines[0].split() == columns
        assert {int(line.split()[1]) for line in lines[1:]} == {one.info.pid, two.info.pid}
        assert all(line.endswith("in use") for line in lines[1:])
        rows = json.loads(localchat("ps", "--json").stdout)
        assert {row["pid"] for row in rows} == {one.info.pid, two.info.pid}

        done = localchat("stop", str(tiny()))
        assert done.stderr == f"Stopped {tiny()} (process {one.info.pid}).\n"
        assert [engine.status["pid"] for engine in running(places)] == [two.info.pid]
        assert f"(process {two.info.pid})" in localchat("stop", "--all").stderr
        assert list(Endpoint.all(places.runtime)) == []

    def test_when_it_leaves_is_shown(self, localchat: CommandRunner, tiny: Tiny) -> None:
        for keep_alive, shown in ((-1, "never"), (80, r"in [1-8]\d s"), (7200, "in 120 min")):
            open_model(tiny(), keep_alive=keep_alive).close()
            assert re.search(f" {shown}\n$", localchat("ps").stdout)

    def test_stopping_what_does_not_run(self, localchat: CommandRunner) -> None:
        done = localchat("stop", "nobody")
        assert (done.returncode, done.stdout) == (3, "")
        assert done.stderr == "Error: No engine is running for 'nobody'.\nTry: localchat ps\n"


class TestConfig:
    def test_values_and_origins(self, localchat: CommandRunner, places: Paths) -> None:
        places.config.mkdir()
        places.config_file.write_text('keep_alive = "2h"\ntop_k = 3\n')
        environ = {"LOCALCHAT_TOP_K": "4"}
        shown = json.loads(localchat("config", "--json", env=environ).stdout)
        found = {row["name"]: (row["value"], row["source"]) for row in shown["settings"]}
        assert found["keep_alive"] == (7200, str(places.config_file))
        assert found["top_k"] == (4, "LOCALCHAT_TOP_K")
        assert found["temperature"] == (None, "default")
        assert list(found) == list(Settings.__slots__)
        assert shown["paths"]["config"] == str(places.config)
        text = localchat("config", env=environ).stdout
        assert "LOCALCHAT_TOP_K" in text
        assert str(places.runtime) in text

    def test_a_bad_file_is_named(self, localchat: CommandRunner, places: Paths) -> None:
        places.config.mkdir()
        places.config_file.write_text("temprature = 1")
        done = localchat("config")
        assert done.returncode == 2
        assert "did you mean 'temperature'?" in done.stderr


def test_help_and_version(localchat: CommandRunner) -> None:
    assert localchat("--version").stdout == f"localchat {__version__}\n"
    commands = group.list_commands(None)  # type: ignore[arg-type]
    for arguments in ((), *((name,) for name in commands)):
        done = localchat(*arguments, "--help")
        assert done.returncode == 0
        assert done.stdout.startswith("Usage: localchat")


def imports_of(*arguments: str) -> set[str]:
    """Top-level names of all modules that a command imports."""
    done = subprocess.run(
        [COMMAND[0], "-X", "importtime", *COMMAND[1:], *arguments],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=True,
    )
    names = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines()]
    assert "click" in names
    return {name.split(".")[0] for name in names}


def test_a_warm_command_imports_nothing_costly(
    localchat: CommandRunner, installed_starter: Path, places: Paths
) -> None:
    places.config.mkdir(exist_ok=True)
    places.config_file.write_text("max_tokens = 2\n")
    assert localchat("hi").returncode == 0
    costly = COSTLY | {"tomllib", "subprocess", "asyncio"}
    schema = ("--json-schema", '{"type": "boolean"}')
    choices = ("score", "hi", "-c", "yes", "-c", "no")
    for arguments in (("hi",), ("hi", *schema), ("hi", "--json", "--logprobs", "1"), choices):
        assert imports_of(*arguments) & costly == set()
    assert imports_of("-t", "greedy", "hi") & costly == {"tomllib"}
    for command in ("ps", "cache"):
        assert imports_of(command) & COSTLY == set()


def test_help_imports_nothing_costly(home: Path) -> None:
    assert imports_of("--help") & COSTLY == set()


def test_asking_opens_no_network_socket(
    tiny: Tiny, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = (
        "import os, sys, socket\n"
        "def audit(event, given):\n"
        "    if event == 'socket.__new__' and given[1] != socket.AF_UNIX: os._exit(9)\n"
        "sys.addaudithook(audit)\n"
    )
    patch_engines(monkeypatch, audit)
    open_model(tiny(), context=8192, parallel=16, threads=0)
    code = audit + "from localchat.cli.main import main\nmain()"
    arguments = ["-m", str(tiny()), "--max-tokens", "4", "hi"]
    run = [sys.executable, "-P", "-c", code, *arguments]
    assert subprocess.run(run, stdin=subprocess.DEVNULL, check=False).returncode == 0
    forbidden = [sys.executable, "-c", audit + "socket.socket(socket.AF_INET)"]
    assert subprocess.run(forbidden, check=False).returncode == 9


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
class TestOnATerminal:
    def test_the_status_line_is_gone_when_the_answer_comes(self, tiny: Tiny) -> None:
        code, written = on_terminal("-m", str(tiny()), "hi", "--max-tokens", "4", "--raw")
        assert code == 0
        before, _, after = written.rpartition(b"\r\x1b[K")
        assert before.startswith(b"\r\x1b[KLoading ")
        assert b"\x1b" not in after
        assert after.endswith(b"\r\n")

    def test_a_note_has_a_line_of_its_own(self, tiny: Tiny) -> None:
        _, written = on_terminal("-m", str(tiny(chat_template=None)), "hi", "--max-tokens", "4")
        assert b"\r\x1b[KNote: " in written

    def test_an_abort_inside_llama_leaves_a_clean_line(self, tiny: Tiny, tmp_path: Path) -> None:
        key = b"llama.block_count" + (4).to_bytes(4, "little")
        head, _, tail = tiny().read_bytes().partition(key)
        bad = tmp_path / "bad\x1b[31m.gguf"
        bad.write_bytes(head + key + bytes(4) + tail[4:])
        code, written = on_terminal("-m", str(bad), "hi")
        assert code == 1
        _, _, after = written.rpartition(b"\r\x1b[K")
        assert after.startswith(b"Error: The engine ended without a word.")
        assert b"\x1b" not in after

    def test_no_prompt_is_a_usage_error(self, home: Path) -> None:
        code, written = on_terminal("ask")
        assert code == 2
        assert written == b"Error: There is no prompt.\r\nTry: localchat ask --help\r\n"
