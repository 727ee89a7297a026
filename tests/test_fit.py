"""The estimate against what llama.cpp says it allocates, and what follows from an estimate."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.errors import OutOfSpace
from localchat.fit import SPARE_SEQUENCES, Footprint, context_length, footprint
from localchat.gguf import Header, Value
from localchat.llama import library
from localchat.llama.context import Context
from localchat.llama.model import Model
from localchat.types import KVType, LoadOptions
from tests.tiny_models import ARCHITECTURES

Tiny = Callable[..., Path]

KV_TYPES: tuple[KVType, ...] = get_args(KVType)
MIB, GIB = 2**20, 2**30


@pytest.fixture
def log() -> Iterator[list[str]]:
    """llama.cpp's log."""
    lines: list[str] = []
    library.start(lines.append)
    yield lines
    library.start(lambda line: None)


def allocated(log: list[str], kinds: str) -> float:
    """Bytes of all buffers of these kinds that were logged."""
    sizes = [re.search(rf"(?:{kinds}) buffer size = +([\d.]+) MiB", line) for line in log]
    return sum(float(found[1]) for found in sizes if found) * MIB


def check_estimate(
    path: Path, log: list[str], contexts: tuple[int, ...] = (512, 2048, 8192)
) -> None:
    log.clear()
    model = Model(str(path))
    weights = allocated(log, "Mapped model")
    needed = {kind: footprint(str(path), LoadOptions(kv_type=kind)) for kind in KV_TYPES}
    assert weights <= needed["f16"].weights < 1.15 * weights + 4 * MIB
    for length in contexts:
        for kv_type in KV_TYPES:
            log.clear()
            Context(
                model,
                n_ctx=length,
                n_batch=512,
                n_sequences=LoadOptions().parallel + SPARE_SEQUENCES,
                n_threads=1,
                kv_type=kv_type,
            ).close()
            estimate = needed[kv_type].estimate(length)
            cache, compute = allocated(log, "KV|RS"), allocated(log, "compute|output")
            rounding = 0.03 * MIB
            assert cache - rounding <= estimate.kv_cache <= 1.02 * cache + rounding
            assert compute - rounding <= estimate.compute <= 1.15 * compute + 4 * MIB
    model.close()


@pytest.mark.parametrize("name", ["starter", "base_model"])
def test_real_models(name: str, request: pytest.FixtureRequest, log: list[str]) -> None:
    check_estimate(request.getfixturevalue(name), log)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_architecture(tiny: Tiny, architecture: str, log: list[str]) -> None:
    check_estimate(tiny(architecture, context_length=8192), log)


def header(**own: Value) -> Header:
    """A header of a llama of about a billion weights."""
    numbers: dict[str, Value] = {
        "context_length": 131072,
        "embedding_length": 2048,
        "block_count": 16,
        "feed_forward_length": 8192,
        "attention.head_count": 32,
        "attention.head_count_kv": 8,
    }
    numbers |= {key.replace("__", "."): value for key, value in own.items()}
    return Header("llama", {f"llama.{key}": value for key, value in numbers.items()}, 128256)


BILLION = Footprint(header(), weights=800 * MIB, kv_type="f16", sequences=18, batch=512)


class TestFormulas:
    def test_the_kv_cache(self) -> None:
        assert BILLION.estimate(8192).kv_cache == 8192 * 16 * 8 * (64 + 64) * 2
        halved = replace(BILLION, kv_type="q8_0").estimate(8192).kv_cache
        assert halved == 8192 * 16 * 8 * (64 + 64) * 34 // 32

    def test_a_context_is_rounded_up_as_llama_does(self) -> None:
        assert BILLION.estimate(257) == BILLION.estimate(512)

    def test_layers_without_attention_have_no_cache(self) -> None:
        some = header(attention__head_count_kv=(8, 0) * 8)
        whole = BILLION.estimate(1024).kv_cache
        assert replace(BILLION, header=some).estimate(1024).kv_cache == whole // 2
        some = header(full_attention_interval=4)
        assert replace(BILLION, header=some).estimate(1024).kv_cache == whole // 4

    def test_recurrent_states_are_counted_by_sequence(self) -> None:
        mamba = Footprint(
            header(ssm__inner_size=4096, ssm__state_size=16, ssm__conv_kernel=4,
                   attention__head_count=0, attention__head_count_kv=0),
            weights=0, kv_type="f16", sequences=3, batch=512,
        )  # fmt: skip
        assert mamba.estimate(512).kv_cache == 3 * 16 * 4 * (4096 * 16 + 3 * 4096)
        assert mamba.estimate(512).kv_cache == mamba.estimate(99999).kv_cache

    def test_sliding_windows_are_kept_in_full_and_have_a_mask_of_their_own(self) -> None:
        sliding = replace(BILLION, header=header(attention__sliding_window=512))
        assert sliding.estimate(8192).kv_cache == BILLION.estimate(8192).kv_cache
        assert sliding.estimate(2**17).compute > BILLION.estimate(2**17).compute + 50 * MIB

    @given(
        st.dictionaries(
            st.sampled_from(
                ["block_count", "embedding_length", "attention.head_count", "expert_used_count",
                 "attention.head_count_kv", "context_length", "attention.key_length",
                 "ssm.inner_size", "ssm.conv_kernel", "wkv.head_size", "full_attention_interval"]
            ),
            st.integers(-2, 2**64 - 1)
            | st.lists(st.integers(0, 9), max_size=4).map(tuple)
            | st.just("x"),
        ),
        st.integers(0, 2**40),
    )  # fmt: skip
    def test_any_header_has_an_estimate(
        self, own: dict[str, int | tuple[int, ...] | str], available: int
    ) -> None:
        metadata: dict[str, Value] = {f"llama.{key}": value for key, value in own.items()}
        needed = Footprint(Header("llama", metadata, 9), 2**30, "q4_0", 18, 512)
        assert needed.estimate(4096).total
        assert needed.auto_context(available)

    @given(st.integers(1, 2**20), st.integers(1, 2**20))
    def test_more_context_never_takes_less(self, one: int, other: int) -> None:
        least, most = sorted((one, other))
        assert BILLION.estimate(least).total <= BILLION.estimate(most).total


class TestAutoContext:
    def test_memory_in_plenty_is_not_taken_beyond_a_gigabyte_or_the_weights(self) -> None:
        assert 0.9 * GIB < cache_of(BILLION, 400 * GIB) <= GIB
        heavy = replace(BILLION, weights=3 * GIB)
        assert 2.9 * GIB < cache_of(heavy, 400 * GIB) <= 3 * GIB

    def test_a_quarter_of_what_the_weights_leave(self) -> None:
        length = BILLION.auto_context(BILLION.weights + 3 * GIB)
        assert length % 256 == 0
        assert taken(BILLION, length) <= 0.75 * GIB < taken(BILLION, length + 256)

    @pytest.mark.parametrize("available", [0, 2**20, BILLION.weights + 400 * MIB])
    def test_at_least_2048(self, available: int) -> None:
        assert BILLION.auto_context(available) == 2048

    def test_the_trained_length_is_the_most(self) -> None:
        small = replace(BILLION, header=header(context_length=1000))
        assert small.auto_context(64 * GIB) == 1000
        assert small.auto_context(0) == 1000

    def test_a_model_that_does_not_say_gets_the_least(self) -> None:
        unknown = replace(BILLION, header=header(context_length=0))
        assert unknown.auto_context(64 * GIB) == 2048

    @given(st.integers(0, 2**42))
    def test_what_it_chooses_leaves_most_of_the_memory(self, available: int) -> None:
        length = BILLION.auto_context(available)
        assert length == 2048 or 4 * taken(BILLION, length) <= available - BILLION.weights

    def test_a_number_pins_it(self) -> None:
        assert context_length(BILLION, LoadOptions(context=300), 0) == 300
        assert context_length(BILLION, LoadOptions(context=2**20), 0) == 131072
        assert context_length(BILLION, LoadOptions(), 0) == 2048


def cache_of(needed: Footprint, available: int) -> int:
    return needed.estimate(needed.auto_context(available)).kv_cache


def taken(needed: Footprint, length: int) -> int:
    return needed.estimate(length).total - needed.weights


class TestRefusal:
    """8,192 tokens of the billion: 800 MiB of weights, 256 of KV cache, some 300 to compute."""

    def refusal(self, available: int, length: int = 8192) -> OutOfSpace:
        with pytest.raises(OutOfSpace) as caught:
            BILLION.check(length, available, "a model")
        return caught.value

    def test_what_fits_is_not_refused(self) -> None:
        total = BILLION.estimate(8192).total
        BILLION.check(8192, total, "a model")
        self.refusal(total - 1)

    def test_needed_and_available_are_named(self) -> None:
        error = self.refusal(1200 * MIB)
        total = BILLION.estimate(8192).total
        assert str(error) == (
            f"a model needs {total / 1e9:.1f} GB of memory for a context of 8,192 tokens"
            f" (weights 839 MB, KV cache 268 MB,"
            f" computing {BILLION.estimate(8192).compute / 1e6:.0f} MB); 1.3 GB is available."
        )

    def test_what_would_fit_does_fit(self) -> None:
        total = BILLION.estimate(8192).total
        hint = self.refusal(total - 100 * MIB).hint
        assert hint is not None
        length = int(re.findall(r"LOCALCHAT_CONTEXT=(\d+)", hint)[0])
        assert length % 256 == 0
        BILLION.check(length, total - 100 * MIB, "a model")
        assert BILLION.estimate(length + 256).total > total - 100 * MIB
        assert "LOCALCHAT_KV_TYPE=q8_0" in hint
        hint = self.refusal(total - 150 * MIB).hint
        assert hint is not None
        assert "LOCALCHAT_KV_TYPE=q4_0" in hint

    def test_where_no_context_fits_a_smaller_model_is_the_way(self) -> None:
        for available in (0, BILLION.weights):
            hint = self.refusal(available).hint
            assert hint == "a smaller quantization of the model, or a smaller model"
