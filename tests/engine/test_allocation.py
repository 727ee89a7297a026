"""What a model gets is decided before it is loaded."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from localchat import room
from localchat.engine.allocation import allocate
from localchat.errors import ConfigError, ModelLoadFailed, OutOfSpace
from localchat.fit import draft_footprint, footprint
from localchat.llama import devices
from localchat.llama.context import Context
from localchat.llama.devices import Device
from localchat.llama.model import Model
from localchat.room import Room
from localchat.types import KVType, LoadOptions, ModelRef
from tests.tiny_models import ARCHITECTURES

Tiny = Callable[..., Path]
MIB = 2**20

GPU = Device("GPU0", "a GPU", "CUDA", "gpu", free=2**30, total=2**31)


@pytest.fixture
def available(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets the memory that is available."""
    return lambda memory: monkeypatch.setattr(room, "find", lambda: Room(memory, 0))


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The GPU layers of each attempt to load a model."""
    attempts: list[int] = []
    load = Model.__init__

    def record(self: Model, path: str, *, gpu_layers: int = 0) -> None:
        attempts.append(gpu_layers)
        load(self, path, gpu_layers=gpu_layers)

    monkeypatch.setattr(Model, "__init__", record)
    return attempts


def context(path: Path, **options: object) -> int:
    """Tokens of the context the model gets."""
    wanted = LoadOptions(threads=1, **options)  # type: ignore[arg-type]
    _, context, _ = allocate(ModelRef("tiny", str(path)), wanted, lambda line: None)
    return context.n_ctx


def test_auto_is_the_trained_length_where_memory_allows(tiny: Tiny) -> None:
    assert context(tiny(context_length=4096)) == 4096


def test_auto_is_less_where_memory_is_short(tiny: Tiny, available: Callable[[int], None]) -> None:
    path = tiny(context_length=32768)
    available(64 * MIB)
    assert 2048 <= context(path) < 32768
    assert context(path, context=32768) == 32768  # pinned: it does fit


def test_a_model_too_large_is_refused_before_it_is_loaded(
    tiny: Tiny, available: Callable[[int], None], loaded: list[int]
) -> None:
    path = tiny(context_length=32768)
    available(30 * MIB)
    with pytest.raises(
        OutOfSpace, match=r"tiny needs \d+ MB .* 32,768 tokens .*; 31 MB is"
    ) as caught:
        context(path, context=32768)
    assert loaded == []
    hint = str(caught.value.hint)
    length = int(hint.partition("LOCALCHAT_CONTEXT=")[2].partition(",")[0])
    assert context(path, context=length) == length


def test_a_draft_model_takes_memory_too(
    tiny: Tiny, available: Callable[[int], None], loaded: list[int]
) -> None:
    path = tiny(context_length=32768)
    needed = footprint(str(path), LoadOptions()).estimate(32768).total
    available(needed + draft_footprint(str(path)).estimate(32768).total // 2)
    assert context(path, context=32768) == 32768
    loaded.clear()
    with pytest.raises(OutOfSpace, match=r"tiny, beside its draft model, needs"):
        context(path, context=32768, draft=str(path))
    assert loaded == []
    assert context(path, draft=str(path)) < context(path)


def test_swap_makes_room_but_no_longer_context(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "find", lambda: Room(4 * MIB, 2**30))
    path = tiny(context_length=32768)
    assert context(path) == 2048
    assert context(path, context=32768) == 32768


def test_a_real_limit_of_memory_is_seen(starter: Path) -> None:
    code = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (400 * 2**20,) * 2)\n"
        "from localchat.engine.allocation import allocate\n"
        "from localchat.errors import OutOfSpace\n"
        "from localchat.types import LoadOptions, ModelRef\n"
        "try: allocate(ModelRef('m', sys.argv[1]), LoadOptions(context=8192), lambda line: None)\n"
        "except OutOfSpace as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(starter)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert re.match(
        r"m needs \d+ MB of memory for a context of 8,192 tokens .*; \d+ MB is", done.stdout
    )


def test_a_header_that_cannot_be_read_is_refused_before_it_is_loaded(
    tmp_path: Path, loaded: list[int]
) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(b"GGUF" + bytes(99))
    with pytest.raises(ModelLoadFailed, match=r"can't load .*bad\.gguf: it is GGUF of version 0"):
        context(path)
    assert loaded == []


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("kv_type", get_args(KVType))
def test_every_architecture_takes_every_type_of_cache(
    tiny: Tiny, architecture: str, kv_type: KVType
) -> None:
    assert context(tiny(architecture), kv_type=kv_type) == 256


@pytest.mark.parametrize("kv_type", ["q8_0", "q4_0"])
def test_heads_that_cannot_be_quantized_are_named(
    tiny: Tiny, tmp_path: Path, kv_type: KVType
) -> None:
    path = tmp_path / "narrow.gguf"
    path.write_bytes(with_heads(tiny().read_bytes(), 4, 2))
    assert context(path) == 256
    for _ in range(3):  # what another model failed of is not named
        with pytest.raises(ModelLoadFailed):
            Model(str(tmp_path))
    with pytest.raises(
        ConfigError, match=f"'kv_type' can't be '{kv_type}' with this model"
    ) as caught:
        context(path, kv_type=kv_type)
    assert caught.value.hint == "LOCALCHAT_KV_TYPE=f16"


def with_heads(content: bytes, heads: int, heads_kv: int) -> bytes:
    """The model with other numbers of heads, which are narrower for it."""
    for key, count in ((b"head_count", heads), (b"head_count_kv", heads_kv)):
        name = b"llama.attention." + key
        start = content.index(len(name).to_bytes(8, "little") + name) + 8 + len(name) + 4
        content = content[:start] + count.to_bytes(4, "little") + content[start + 4 :]
    return content


class TestGpus:
    """A GPU that is not there: llama.cpp computes its layers on the CPU."""

    @pytest.fixture(autouse=True)
    def gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(devices, "gpus", lambda: [GPU])

    def test_auto_puts_all_layers_on_it(self, tiny: Tiny, loaded: list[int]) -> None:
        context(tiny())
        assert loaded == [3]

    @pytest.mark.parametrize(("wanted", "given"), [(0, 0), (1, 1), (99, 3)])
    def test_a_number_pins_them(
        self, tiny: Tiny, loaded: list[int], wanted: int, given: int
    ) -> None:
        context(tiny(), gpu_layers=wanted)
        assert loaded == [given]

    def test_its_memory_counts(
        self, tiny: Tiny, available: Callable[[int], None], loaded: list[int]
    ) -> None:
        available(1)
        assert context(tiny(context_length=4096)) == 4096
        with pytest.raises(OutOfSpace):
            context(tiny(context_length=4096), gpu_layers=0)
        assert len(loaded) == 1

    def test_shared_memory_counts_once(
        self,
        tiny: Tiny,
        available: Callable[[int], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        shared = Device("M", "Apple", "Metal", "gpu", free=2**30, total=2**30)
        monkeypatch.setattr(devices, "gpus", lambda: [shared])
        available(1)
        with pytest.raises(OutOfSpace):
            context(tiny())

    def test_a_context_that_does_not_fit_gets_fewer_layers(
        self, tiny: Tiny, loaded: list[int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        create, failures = Context.__init__, [OutOfSpace("full")]

        def fail_once(self: Context, *given: object, **options: object) -> None:
            if failures:
                raise failures.pop()
            create(self, *given, **options)  # type: ignore[arg-type]

        monkeypatch.setattr(Context, "__init__", fail_once)
        assert context(tiny()) == 256
        assert loaded == [3, 1]


def test_the_build_in_use_is_described() -> None:
    (cpu,) = (device for device in devices.devices() if device.kind == "cpu")
    assert (cpu.name, cpu.has_own_memory) == ("CPU", False)
    assert cpu.total >= cpu.free > 0
    assert devices.cpu_features()
