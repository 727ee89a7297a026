"""However engines and their starters come and go, the next caller gets a working engine."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from localchat import __version__, paths
from localchat.client.engines import running
from localchat.client.launcher import _key, open_engine
from localchat.client.socket_client import SocketClient
from localchat.errors import EngineDied, LocalchatError, ModelLoadFailed, OutOfSpace
from localchat.host.endpoint import Endpoint
from localchat.host.protocol import encode
from localchat.paths import Paths
from localchat.types import LoadOptions, ModelRef
from tests.client import (
    ENDLESS,
    has_ended,
    open_endless,
    open_model,
    patch_engines,
    reply,
    start_replying,
)
from tests.conftest import wait_until

Tiny = Callable[..., Path]

OPENER = """
import sys
from pathlib import Path
from tests.client import open_model
print("ready", flush=True)
sys.stdin.readline()
client = open_model(Path(sys.argv[1]))
print(client.info.pid, flush=True)
sys.stdin.readline()
"""


def start_opener(model: Path, *, new_session: bool = False) -> subprocess.Popen[str]:
    """A process that opens an engine when it reads a line, and stays until the next."""
    opener = subprocess.Popen(
        [sys.executable, "-c", OPENER, str(model)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=new_session,
        cwd=Path(__file__).parents[2],
    )
    assert opener.stdout is not None
    assert opener.stdout.readline() == "ready\n"
    return opener


def next_line(opener: subprocess.Popen[str]) -> str:
    assert opener.stdin is not None
    assert opener.stdout is not None
    opener.stdin.write("\n")
    opener.stdin.flush()
    return opener.stdout.readline()


def pids(places: Paths) -> list[int]:
    return [engine.status["pid"] for engine in running(places)]


def test_twenty_processes_at_the_same_instant_start_one_engine(tiny: Tiny, places: Paths) -> None:
    openers = [start_opener(tiny()) for _ in range(20)]
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.write("\n")
    for opener in openers:
        assert opener.stdin is not None
        opener.stdin.flush()
    answers = [opener.communicate("\n", timeout=30)[0] for opener in openers]
    assert [{int(answer)} for answer in answers] == [set(pids(places))] * 20


def test_a_later_client_finds_the_engine_and_skips_the_load(tiny: Tiny) -> None:
    first = open_model(tiny())
    assert open_model(tiny()).info == first.info


def test_other_options_and_files_mean_other_processes(tiny: Tiny, places: Paths) -> None:
    clients = [
        open_model(tiny()),
        open_model(tiny(), context=128),
        open_model(tiny(), parallel=1),
        open_model(tiny(seed=2)),
    ]
    assert sorted(client.info.pid for client in clients) == sorted(pids(places))
    assert len(set(pids(places))) == 4


def test_a_link_to_the_same_file_finds_the_same_engine(tiny: Tiny, tmp_path: Path) -> None:
    link = tmp_path / "link.gguf"
    link.symlink_to(tiny())
    first = open_model(tiny())
    assert open_model(link).info.pid == first.info.pid


def test_a_changed_file_is_loaded_anew(tiny: Tiny, tmp_path: Path) -> None:
    model = tmp_path / "model.gguf"
    shutil.copy(tiny(), model)
    first = open_model(model)
    Path(shutil.copy(tiny(seed=2), tmp_path / "new.gguf")).replace(model)
    assert open_model(model).info.pid != first.info.pid


@pytest.mark.parametrize("is_loaded", [True, False])
def test_an_engine_of_another_version_is_replaced(
    tiny: Tiny, places: Paths, monkeypatch: pytest.MonkeyPatch, is_loaded: bool
) -> None:
    version = f"import localchat; localchat.__version__ = {'0.0.1'!r}\n"
    slow = "import time; from localchat.host import worker; load = worker.load\n" + (
        "worker.load = lambda *given: time.sleep(0.3) or load(*given)"
    )
    with monkeypatch.context() as patched:
        patch_engines(patched, version if is_loaded else version + slow)
        patched.setattr("localchat.client.socket_client.__version__", "0.0.1")
        old = open_model(tiny()) if is_loaded else None
        if old is None:
            patched.setattr("localchat.client.socket_client.SocketClient.wait_until_ready", _skip)
            open_model(tiny())
    (old_pid,) = pids(places)
    new = open_model(tiny())
    assert new.info.version == __version__
    assert new.info.pid != old_pid
    if old is not None:
        assert reply(old, max_tokens=4)  # it may finish what it began
        old.close()
    wait_until(lambda: has_ended(old_pid))
    assert pids(places) == [new.info.pid]


def _skip(_: object) -> None: ...


def test_a_stale_socket_is_no_obstacle_and_is_cleaned_up(tiny: Tiny, places: Paths) -> None:
    client = open_model(tiny())
    os.kill(client.info.pid, signal.SIGKILL)
    wait_until(lambda: has_ended(client.info.pid))
    assert len(list(Endpoint.all(places.runtime))) == 1
    assert running(places) == []
    assert list(Endpoint.all(places.runtime)) == []

    (places.runtime / "stale.sock").touch()
    here = Endpoint(places.runtime, "stale2")
    here.listen()[0].close()
    assert running(places) == []
    assert list(Endpoint.all(places.runtime)) == []


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGABRT])
def test_an_engine_that_dies_in_mid_reply_is_reported_and_replaced(
    tiny: Tiny, how: signal.Signals
) -> None:
    model = tiny(**ENDLESS)
    client = open_endless(model)
    start_replying(client)
    os.kill(client.info.pid, how)
    with pytest.raises(EngineDied, match=r"(?s)ended without a word.*log ends with:\n.*ready"):
        list(client.events())
    again = open_endless(model)
    assert again.info.pid != client.info.pid
    assert reply(again, max_tokens=4)


def test_keep_alive_0_leaves_with_the_last_client(tiny: Tiny) -> None:
    one, two = open_model(tiny(), keep_alive=0), open_model(tiny(), keep_alive=0)
    pid = one.info.pid
    one.close()
    assert reply(two, max_tokens=4)
    two.close()
    wait_until(lambda: has_ended(pid), 2)


def test_keep_alive_1_leaves_after_about_a_second(tiny: Tiny) -> None:
    client = open_model(tiny(), keep_alive=1)
    pid = client.info.pid
    client.close()
    closed = time.monotonic()
    wait_until(lambda: has_ended(pid), 4)
    assert 0.9 < time.monotonic() - closed < 3


def test_keep_alive_minus_1_stays(tiny: Tiny, places: Paths) -> None:
    open_model(tiny(), keep_alive=-1).close()
    wait_until(lambda: running(places)[0].status["clients"] == 0)
    assert running(places)[0].status["expires"] is None


def test_the_latest_keep_alive_counts(tiny: Tiny) -> None:
    pid = open_model(tiny(), keep_alive=-1).info.pid
    open_model(tiny(), keep_alive=0).close()
    wait_until(lambda: has_ended(pid), 2)


def test_stop_leaves_no_process_and_no_file(tiny: Tiny, places: Paths) -> None:
    client = open_endless(tiny(**ENDLESS))
    start_replying(client)
    (engine,) = running(places)
    engine.stop()
    assert has_ended(client.info.pid)
    assert list(Endpoint.all(places.runtime)) == []
    with pytest.raises(EngineDied, match="The engine left: stopped"):
        list(client.events())


def test_stop_kills_an_engine_that_hangs(
    tiny: Tiny, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localchat.client.engines._PATIENCE", 0.3)
    client = open_model(tiny())
    (engine,) = running(places)
    os.kill(client.info.pid, signal.SIGSTOP)
    engine.stop()
    wait_until(lambda: has_ended(client.info.pid))
    assert list(Endpoint.all(places.runtime)) == []


def test_an_engine_that_hangs_is_listed_as_such_and_can_be_stopped(
    tiny: Tiny, places: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("localchat.client.engines._PATIENCE", 0.3)
    client = open_model(tiny())
    os.kill(client.info.pid, signal.SIGSTOP)
    (engine,) = running(places)
    assert (engine.status["state"], engine.status["pid"]) == ("hangs", client.info.pid)
    engine.stop()
    wait_until(lambda: has_ended(client.info.pid))


def test_an_engine_survives_its_starter(tiny: Tiny, places: Paths) -> None:
    opener = start_opener(tiny(), new_session=True)
    pid = int(next_line(opener))
    os.killpg(opener.pid, signal.SIGKILL)
    opener.communicate()
    assert pids(places) == [pid]
    assert reply(open_model(tiny()), max_tokens=4)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 2), (0, 1, 2)])
def test_an_engine_starts_though_the_starters_streams_are_closed(
    tiny: Tiny, places: Paths, closed: tuple[int, ...], tmp_path: Path
) -> None:
    redirections = " ".join(f"{stream}>&-" for stream in closed)
    code = (
        "import sys; from pathlib import Path; from tests.client import open_model, reply\n"
        "assert reply(open_model(Path(sys.argv[1])), max_tokens=4)\n"
        "Path(sys.argv[2]).touch()"
    )
    done = tmp_path / "done"
    subprocess.run(
        ["sh", "-c", f'exec "$@" {redirections}', "sh", sys.executable, "-c", code, tiny(), done],
        cwd=Path(__file__).parents[2],
        timeout=30,
        check=True,
    )
    assert done.exists()
    (log,) = places.logs.iterdir()
    assert "ready after" in log.read_text()


def test_the_log_is_private_and_holds_no_prompt(tiny: Tiny, places: Paths) -> None:
    umask = os.umask(0)
    try:
        reply(open_model(tiny()), "a very private prompt", max_tokens=4)
    finally:
        os.umask(umask)
    (log,) = places.logs.iterdir()
    assert log.stat().st_mode & 0o777 == 0o600
    assert places.logs.stat().st_mode & 0o777 == 0o700
    assert "private" not in log.read_text()
    assert {path.stat().st_mode & 0o777 for path in places.runtime.iterdir()} == {0o600}


def test_an_engine_that_cannot_start_is_reported(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_engines(monkeypatch, "raise SystemExit('no luck')")
    with pytest.raises(EngineDied, match="did not start; its log is"):
        open_model(tiny())


def test_a_file_llama_refuses_is_reported_and_its_engine_leaves(
    places: Paths, tmp_path: Path
) -> None:
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF" + bytes(100))
    with pytest.raises(ModelLoadFailed, match="can't load"):
        open_model(bad)
    wait_until(lambda: not list(Endpoint.all(places.runtime)))


def test_an_engine_may_fail_before_it_has_said_welcome(tiny: Tiny, places: Paths) -> None:
    model, options = ModelRef("tiny", str(tiny())), LoadOptions()
    listener, _ = Endpoint(places.runtime, _key(model, options)).listen()

    def fail() -> None:
        with listener, listener.accept()[0] as connection:
            connection.sendall(
                encode({"op": "failed", "kind": "ModelLoadFailed", "message": "No."})
            )
            connection.recv(4096)

    engine = threading.Thread(target=fail)
    engine.start()
    with pytest.raises(ModelLoadFailed, match="No"):
        open_engine(model, options, 0, places)
    engine.join()
    gc.collect()  # a connection left open is an error here


def test_a_runtime_folder_of_somebody_else_is_refused(
    tiny: Tiny, places: Paths, tmp_path: Path
) -> None:
    places.runtime.parent.mkdir(parents=True, exist_ok=True)
    places.runtime.symlink_to(tmp_path)
    with pytest.raises(LocalchatError, match="not a folder of yours"):
        open_model(tiny())
    places.runtime.unlink()


def test_the_engine_opens_no_network_socket(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    patch_engines(
        monkeypatch,
        "import os, sys\n"
        "def audit(event, given):\n"
        "    if event == 'socket.__new__' and given[1] != 1: os._exit(9)\n"
        "sys.addaudithook(audit)",
    )
    assert reply(open_model(tiny()), max_tokens=4)


def test_the_spec_of_an_engine_is_plain_json(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is visible in the process list: no prompt and no secret may ever be part of it."""
    client = open_model(tiny(), draft=str(tiny(seed=1)), snapshot_budget=10**6)
    command = Path(f"/proc/{client.info.pid}/cmdline").read_bytes().split(b"\0")
    spec = json.loads(command[-2])
    folders = {"runtime", "snapshots", "speeds"}
    assert set(spec) == {"key", "model", "options", "keep_alive", "ready_fd"} | folders
    assert spec["snapshots"] == str(paths.find().snapshots)
    assert spec["speeds"] == str(paths.find().speeds)
    assert LoadOptions(**spec["options"]) == LoadOptions(
        parallel=4, threads=1, draft=str(tiny(seed=1)), snapshot_budget=10**6
    )


# An engine finds room for a long context only while no other engine's socket is there.
CROWDED = """
import glob, json, sys
from localchat import room
folder = json.loads(sys.argv[-1])["runtime"]
room.find = lambda: room.Room(2**27 if len(glob.glob(folder + "/*.sock")) > 1 else 2**40, 0)
"""


class TestMemoryThatIsShort:
    @pytest.fixture
    def long(self, tiny: Tiny) -> Path:
        return tiny(context_length=2**19)

    def open_long(self, path: Path) -> SocketClient:
        return open_model(path, context=2**19)

    def test_an_engine_that_nobody_uses_makes_room(
        self, tiny: Tiny, long: Path, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = open_model(tiny())
        client.close()
        wait_until(lambda: running(places)[0].is_idle)
        patch_engines(monkeypatch, CROWDED)
        said: list[str] = []
        model = ModelRef(str(long), str(long))
        options = LoadOptions(context=2**19, threads=1, parallel=4)
        with closing(open_engine(model, options, 60.0, places, said.append)) as new:
            assert pids(places) == [new.info.pid]
        assert said == [f"Making room: stopping {tiny()} …"]
        assert has_ended(client.info.pid)

    def test_one_with_a_client_is_left_alone(
        self, tiny: Tiny, long: Path, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        client = open_model(tiny())
        patch_engines(monkeypatch, CROWDED)
        with pytest.raises(OutOfSpace, match="is available"):
            self.open_long(long)
        assert pids(places) == [client.info.pid]
        assert reply(client, max_tokens=4)

    def test_a_client_that_comes_meanwhile_is_served_to_its_end(
        self, tiny: Tiny, places: Paths, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("localchat.client.engines._PATIENCE", 0.3)
        open_model(tiny()).close()
        wait_until(lambda: running(places)[0].is_idle)
        (engine,) = running(places)
        client = open_model(tiny())
        assert not engine.retire()
        assert reply(client, max_tokens=4)
        client.close()
        wait_until(lambda: has_ended(client.info.pid))
