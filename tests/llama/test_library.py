from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localchat.llama import library
from localchat.llama.context import Context
from localchat.llama.model import Model
from tests.llama.steps import decode

DEBUG, INFO, ERROR, CONTINUED = 1, 2, 4, 5


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """llama.cpp's log of this test."""
    lines: list[str] = []
    library.start(lines.append)
    yield lines
    library.start(lambda line: None)


def log(level: int, text: bytes | None) -> None:
    library._log_callback(level, text, None)


def test_llama_cpp_prints_nothing_itself(
    capfd: pytest.CaptureFixture[str], tiny: Callable[..., Path], lines: list[str]
) -> None:
    model = Model(str(tiny()))
    context = Context(model, n_ctx=64, n_batch=8, n_sequences=1, n_threads=1)
    decode(context, [10, 11, 12], chunk=8)
    context.close()
    model.close()
    with pytest.raises(Exception, match="can't load"):
        Model("/nonexistent")
    assert capfd.readouterr() == ("", "")
    assert any("llama_model_loader" in line for line in lines)


def test_a_hostile_name_in_a_model_reaches_the_log_as_text(
    capfd: pytest.CaptureFixture[str],
    tiny: Callable[..., Path],
    tmp_path: Path,
    lines: list[str],
) -> None:
    path = tmp_path / "hostile.gguf"
    content = tiny().read_bytes()
    assert content.count(b"tiny model") == 1
    path.write_bytes(content.replace(b"tiny model", b"\x1b]0;\xff\xc3(xy\x07"))
    Model(str(path)).close()
    assert any("\x1b]0;\ufffd\ufffd(xy\x07" in line for line in lines)
    assert capfd.readouterr() == ("", "")


def test_lines_arrive_whole_and_without_their_newline(lines: list[str]) -> None:
    log(INFO, b"load")
    log(CONTINUED, b"ing ...")
    assert lines == []
    log(CONTINUED, b" done\n")
    assert lines == ["loading ... done"]


def test_debug_lines_and_what_continues_them_are_dropped(lines: list[str]) -> None:
    log(DEBUG, b"noise")
    log(CONTINUED, b" goes on\n")
    log(INFO, None)
    log(INFO, b"news\n")
    assert lines == ["news"]


def test_the_first_of_the_last_errors_is_the_reason(
    lines: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "_last_errors", [])
    assert library.reason() == "it gave no reason"
    log(ERROR, b"llama_model_load: error loading model: a tensor is missing\n")
    log(ERROR, b"llama_model_load_from_file_impl: failed to load model\n")
    log(INFO, b"news\n")
    assert library.reason() == "a tensor is missing"


def test_the_build_names_its_version() -> None:
    assert library.build_info().startswith("llama.cpp ")


@pytest.mark.parametrize(("needed", "calls"), [(0, 1), (3, 1), (4, 1), (9, 2)])
def test_a_buffer_grows_to_the_size_that_is_asked_for(needed: int, calls: int) -> None:
    asked: list[int] = []

    def write(buffer: Any, size: int) -> int:
        asked.append(size)
        if size < needed:
            return -needed
        ctypes.memmove(buffer, b"x" * needed, needed)
        return needed

    assert library.call_with_buffer(write, 4) == b"x" * needed
    assert len(asked) == calls
