from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from localchat.errors import ModelLoadFailed
from localchat.llama import library
from localchat.llama.model import Model
from tests.tiny_models import ARCHITECTURES, CHATML, NON_GENERATIVE_ARCHITECTURES

# In a process of its own: a file that llama.cpp's assertions reject would end this one.
LOAD = """
import sys
from localchat.errors import ModelLoadFailed
from localchat.llama import library
from localchat.llama.context import Context
from localchat.llama.model import Model
library.start(lambda line: None)
for path in sys.argv[1:]:
    try:
        Context(Model(path), n_ctx=64, n_batch=8, n_sequences=1, n_threads=1)
    except ModelLoadFailed as error:
        print(error)
"""


def refusals(*paths: Path) -> list[str]:
    command = [sys.executable, "-P", "-c", LOAD, *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_files_that_are_no_model_are_refused_with_a_reason(
    tiny: Callable[..., Path], tmp_path: Path
) -> None:
    whole = tiny().read_bytes()
    contents = {
        "empty": b"",
        "garbage": bytes(range(256)) * 64,
        "magic-only": b"GGUF",
        "half-header": whole[: len(whole) // 100],
        "truncated": whole[:-1000],
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = [*(tmp_path / name for name in contents), tmp_path / "missing"]
    said = refusals(*paths)
    assert len(said) == len(paths)
    for path, message in zip(paths, said, strict=True):
        assert message.startswith(f"llama.cpp can't load {path}: ")
        assert "no reason given" not in message


def test_encoders_are_refused(tiny: Callable[..., Path]) -> None:
    said = refusals(*(tiny(architecture) for architecture in NON_GENERATIVE_ARCHITECTURES))
    assert len(said) == len(NON_GENERATIVE_ARCHITECTURES)
    assert all("encoder" in message for message in said)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_a_model_tells_what_it_is(tiny: Callable[..., Path], architecture: str) -> None:
    model = Model(str(tiny(architecture)))
    assert model.trained_context == 256
    assert model.chat_template == CHATML
    assert model.has_recurrent_memory == (architecture in ("mamba", "jamba", "lfm2"))
    model.close()
    model.close()


def test_a_model_may_have_no_chat_template(tiny: Callable[..., Path]) -> None:
    model = Model(str(tiny("llama", chat_template=None)))
    assert model.chat_template is None
    model.close()


def test_options_are_passed_on(tiny: Callable[..., Path]) -> None:
    asked: list[tuple[int, bool, int, bool]] = []

    def refuse(path: bytes, params: Any) -> None:
        asked.append(
            (
                params.n_gpu_layers,
                params.check_tensors,
                params.lazy_mode,
                params.use_extra_bufts,
            )
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(library.C, "llama_model_load_from_file", refuse)
        for options in ({}, {"gpu_layers": 7}, {"check_tensors": True}):
            with pytest.raises(ModelLoadFailed):
                Model(str(tiny()), **options)
    usual = (False, library.C.LLAMA_LAZY_MODE_AUTO, True)
    checked = (True, library.C.LLAMA_LAZY_MODE_OFF, False)
    assert asked == [(0, *usual), (7, *usual), (0, *checked)]
