"""Whatever a file does to llama.cpp, the caller gets a verdict."""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest

from localchat.host.check import Verdict, check
from tests.conftest import wait_until
from tests.tiny_models import ARCHITECTURES

Tiny = Callable[..., Path]
Damage = Callable[[bytes], bytes]


@pytest.fixture
def damaged(tiny: Tiny, tmp_path: Path) -> Callable[[Damage], Path]:
    """A copy of a tiny model after something was done to its bytes."""

    def write(damage: Damage) -> Path:
        whole = tiny().read_bytes()
        changed = damage(whole)
        assert changed != whole
        path = tmp_path / "model.gguf"
        path.write_bytes(changed)
        return path

    return write


def renamed(old: bytes, new: bytes) -> Damage:
    assert len(old) == len(new)
    return lambda whole: whole.replace(old, new)


def number(key: bytes, value: int) -> Damage:
    """Sets an entry of a type of four bytes."""

    def change(whole: bytes) -> bytes:
        at = whole.index(key) + len(key) + 4
        return whole[:at] + struct.pack("<I", value) + whole[at + 4 :]

    return change


def tensor_type(name: bytes, kind: int) -> Damage:
    """Of a matrix: name, number of dimensions, two dimensions, type."""

    def change(whole: bytes) -> bytes:
        at = whole.index(name) + len(name) + 4 + 2 * 8
        return whole[:at] + struct.pack("<I", kind) + whole[at + 4 :]

    return change


@pytest.mark.parametrize("architecture", [*ARCHITECTURES, "bert"])
def test_a_good_file_is_ok(tiny: Tiny, architecture: str) -> None:
    assert check(tiny(architecture)) == Verdict("ok")


def test_the_real_model_is_ok(starter: Path) -> None:
    assert check(starter) == Verdict("ok")


@pytest.mark.parametrize("index", [0, -1])
def test_weights_that_are_no_numbers_are_damage(tiny: Tiny, tmp_path: Path, index: int) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(tiny().read_bytes())
    tensor = gguf.GGUFReader(path).tensors[index]
    with path.open("r+b") as file:
        file.seek(int(tensor.data_offset) + int(tensor.n_bytes) - 4)
        file.write(struct.pack("<f", float("nan")))
    reason = f"tensor '{tensor.name}' has invalid data"
    assert check(path) == Verdict("damaged", reason)


def test_quantized_weights_that_are_no_numbers_are_damage(tmp_path: Path, starter: Path) -> None:
    path = tmp_path / "model.gguf"
    shutil.copyfile(starter, path)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(starter.stat().st_size // 2)
        file.write(b"\xff" * 2**12)  # as scales of blocks these are not numbers
    verdict = check(path)
    assert verdict.kind == "damaged"
    assert verdict.reason.endswith("has invalid data")


@pytest.mark.parametrize(
    ("damage", "verdict"),
    [
        (lambda whole: b"PK\3\4" + whole[4:], Verdict("damaged", "it is not a GGUF file")),
        (
            lambda whole: whole[:1000],
            Verdict("damaged", "its header claims 267 values beyond the end of the file"),
        ),
        (
            lambda whole: whole[:-1000],
            Verdict(
                "damaged",
                "tensor 'output.weight' data is not within the file bounds,"
                " model is corrupted or incomplete",
            ),
        ),
        (
            lambda whole: whole[:4] + struct.pack("<I", 4) + whole[8:],
            Verdict("unsupported", "it is GGUF of version 4; versions 2 and 3 can be read"),
        ),
        (
            renamed(b"llama", b"ll\x1bma"),
            Verdict("unsupported", "unknown model architecture: 'll\\u001bma'"),
        ),
        (
            renamed(b"gpt-2", b"gpt-9"),
            Verdict(
                "unsupported",
                "error loading model vocabulary: unknown pre-tokenizer type: 'gpt-9'",
            ),
        ),
        (
            renamed(b"gpt2", b"gpt9"),
            Verdict("unsupported", "error loading model vocabulary: unknown tokenizer: 'gpt9'"),
        ),
        (
            tensor_type(b"blk.1.ffn_up.weight", 77),
            Verdict("unsupported", "failed to read tensor info"),
        ),
        (
            renamed(b"llama.context_length", b"llama.context_lengtH"),
            Verdict(
                "refused",
                "error loading model hyperparameters: key not found in model: llama.context_length",
            ),
        ),
        (
            number(b"llama.block_count", 513),
            Verdict("damaged", "llama.cpp ended with SIGABRT while it read it"),
        ),
        (
            number(b"llama.block_count", 0),
            Verdict("damaged", "llama.cpp ended with SIGABRT while it read it"),
        ),
    ],
    ids=[
        "no GGUF",
        "half a header",
        "truncated",
        "version",
        "architecture",
        "pre-tokenizer",
        "tokenizer",
        "quantization",
        "missing key",
        "too many layers",
        "no layers",
    ],
)
def test_what_is_wrong_is_told(
    damaged: Callable[[Damage], Path], damage: Damage, verdict: Verdict
) -> None:
    assert check(damaged(damage)) == verdict


def test_encoder_decoders_are_not_supported(tiny: Tiny) -> None:
    reason = "it is an encoder-decoder model; only decoders can chat"
    assert check(tiny("t5")) == Verdict("unsupported", reason)


def test_a_file_that_can_not_be_opened_is_refused(tmp_path: Path) -> None:
    reason = "No such file or directory"
    assert check(tmp_path / "none.gguf") == Verdict("refused", reason)


def test_paths_may_be_relative_and_modules_nearby_are_not_imported(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit(3)")
    (tmp_path / "model.gguf").write_bytes(tiny().read_bytes())
    monkeypatch.chdir(tmp_path)
    assert check(Path("model.gguf")) == Verdict("ok")


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM"])
def test_a_process_that_others_end_says_nothing_of_the_file(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    number = signal.Signals[name]
    ended = subprocess.CompletedProcess([], -number, b"")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended)
    reason = f"the process that read it ended with status {-number}"
    assert check(tiny()) == Verdict("refused", reason)


def test_nothing_is_printed(damaged: Callable[[Damage], Path]) -> None:
    path = damaged(number(b"llama.block_count", 513))
    code = "import sys, pathlib; from localchat.host.check import check; "
    code += "check(pathlib.Path(sys.argv[1])); sys.exit('llama_cpp' in sys.modules)"
    command = [sys.executable, "-P", "-c", code, str(path)]
    done = subprocess.run(command, capture_output=True, check=True)
    assert (done.stdout, done.stderr) == (b"", b"")


@pytest.fixture
def endless(tmp_path: Path) -> Path:
    """A file that nothing comes from: whoever reads it waits."""
    os.mkfifo(tmp_path / "model.gguf")
    return tmp_path / "model.gguf"


def test_there_may_be_a_time_limit(endless: Path) -> None:
    before = children()
    assert check(endless, 0.5) == Verdict("refused", "it could not be read within 0.5 seconds")
    assert children() <= before


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_ctrl_c_ends_the_process(endless: Path) -> None:
    before = children()

    def interrupt() -> None:
        try:
            wait_until(lambda: any(map(ignores_interrupts, children() - before)))
        finally:
            os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        check(endless)
    thread.join()
    assert children() <= before


def children() -> set[int]:
    """Processes that this one started, and that were not waited for: other tests' engines too."""
    return {
        int(child)
        for tasks in Path("/proc/self/task").iterdir()
        for child in (tasks / "children").read_text().split()
    }


def ignores_interrupts(process: int) -> bool:
    """Whether `limits.apply` was there."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("SigIgn:"):
            return bool(int(line.split()[1], 16) & 1 << (signal.SIGINT - 1))
    return False
