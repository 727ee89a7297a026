"""llama.cpp's own server, and many requests to it at once."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from common import Setup, peer

_CONTEXT = 8192  # of all slots together, as an engine's
_PATIENCE = 120.0  # seconds to load


class LlamaServer:
    def __init__(self, port: int) -> None:
        self._port = port

    def complete_all(self, prompts: list[str], tokens: int) -> float:
        """Seconds until all prompts, sent at once, have had exactly so many tokens each."""
        with _pool(len(prompts)) as pool:
            start = time.perf_counter()
            answers = list(pool.map(lambda prompt: self._complete(prompt, tokens), prompts))
            seconds = time.perf_counter() - start
        if any(answer["tokens_predicted"] != tokens for answer in answers):
            sys.exit("Error: llama-server ended a reply early.")
        return seconds

    def answer_all(self, rows: list[list[dict[str, str]]], tokens: int, at_once: int) -> float:
        """Seconds until conversations, so many with the server at once, have had their replies."""
        with _pool(at_once) as pool:
            start = time.perf_counter()
            answers = list(pool.map(lambda row: self._answer(row, tokens), rows))
            seconds = time.perf_counter() - start
        if any(answer["usage"]["completion_tokens"] != tokens for answer in answers):
            sys.exit("Error: llama-server ended a reply early.")
        return seconds

    def is_ready(self) -> bool:
        try:
            return self._send("GET", "/health", None)[0] == 200
        except OSError:
            return False

    def _complete(self, prompt: str, tokens: int) -> dict[str, Any]:
        body = {
            "prompt": prompt,
            "n_predict": tokens,
            "ignore_eos": True,
            "temperature": 0,
            "cache_prompt": True,
        }
        return self._asked("/completion", body)

    def _answer(self, messages: list[dict[str, str]], tokens: int) -> dict[str, Any]:
        body = {
            "messages": messages,
            "max_tokens": tokens,
            "ignore_eos": True,
            "temperature": 0,
            "cache_prompt": True,
        }
        return self._asked("/v1/chat/completions", body)

    def _asked(self, path: str, body: object) -> dict[str, Any]:
        status, answer = self._send("POST", path, body)
        if status != 200:
            sys.exit(f"Error: llama-server answered {status}: {answer.decode()}")
        result: dict[str, Any] = json.loads(answer)
        return result

    def _send(self, method: str, path: str, body: object) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self._port)
        with contextlib.closing(connection):
            connection.request(
                method,
                path,
                json.dumps(body) if body is not None else None,
                {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            return response.status, response.read()


@contextlib.contextmanager
def _pool(size: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that nobody waits for if the benchmark is stopped: the server ends their requests."""
    pool = ThreadPoolExecutor(size)
    try:
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def llama_server(setup: Setup, slots: int) -> Iterator[LlamaServer]:
    """A server with as many slots, the threads of the benchmark and an engine's batch size."""
    port = _free_port()
    command = [str(peer("llama-server")), "-m", setup.model.path, "-t", str(setup.threads)]
    command += ["-c", str(_CONTEXT), "-b", "512", "-ub", "512", "-np", str(slots)]
    command += ["--host", "127.0.0.1", "--port", str(port), "--no-ui", "--log-disable"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        server = LlamaServer(port)
        deadline = time.monotonic() + _PATIENCE
        while not server.is_ready():
            if process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"Error: llama-server did not start.\nTry: {' '.join(command)}")
            time.sleep(0.05)
        yield server
    finally:
        process.kill()
        process.wait()


def _free_port() -> int:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port: int = listener.getsockname()[1]
        return port
