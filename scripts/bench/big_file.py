"""A big file of random bytes, what a report says of it, and a loopback server that has it."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import tempfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from common import Setup

from localchat import paths
from localchat.registry.files import verify
from localchat.types import ModelRef

_STEP = 2**24


def parser(description: str, rounds: int) -> argparse.ArgumentParser:
    """The options of these benchmarks."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--size", type=int, default=1000, metavar="MB", help="of the file")
    result.add_argument("--rounds", type=int, default=rounds, help="after one round of warm-up")
    return result


@contextlib.contextmanager
def prepare(arguments: argparse.Namespace) -> Iterator[tuple[Setup, Path]]:
    """A private home, and the file: in the page cache, since it was just written."""
    with tempfile.TemporaryDirectory(prefix="localchat-bench-") as folder:
        os.environ["LOCALCHAT_HOME"] = str(Path(folder) / "home")
        path = Path(folder) / "big.gguf"
        draw = random.Random(1)
        with path.open("wb") as file:
            for start in range(0, arguments.size * 10**6, _STEP):
                file.write(draw.randbytes(min(_STEP, arguments.size * 10**6 - start)))
        sha256 = verify.sha256(path)
        model = ModelRef(f"{arguments.size} MB", str(path), sha256)
        yield Setup(model, sha256, 1, arguments.rounds, paths.find()), path


@contextlib.contextmanager
def served(path: Path) -> Iterator[str]:
    """The address of the file. Its bytes are sent by the kernel, and cost this process little."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(path.stat().st_size))
            self.end_headers()
            with path.open("rb") as file:
                self.connection.sendfile(file)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/{path.name}"
        finally:
            server.shutdown()
            thread.join()


def rate(path: Path, seconds: float) -> float:
    """MB/s."""
    return path.stat().st_size / 1e6 / seconds
