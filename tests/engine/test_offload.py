from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from localchat.engine.offload import plan, with_fewer
from localchat.errors import ModelLoadFailed, OutOfSpace
from localchat.fit import Estimate

GIB = 2**30
NEEDED = Estimate(weights=32 * GIB, kv_cache=GIB, compute=GIB)  # 33 layers and outputs, 1 GiB each
LAYERS = 32


@dataclass
class Gpu:
    free: int


def test_without_a_gpu_there_are_no_layers() -> None:
    assert plan([], NEEDED, LAYERS) == 0


def test_a_large_gpu_takes_all_layers_and_the_output() -> None:
    assert plan([Gpu(80 * GIB)], NEEDED, LAYERS) == LAYERS + 1


def test_a_small_gpu_takes_what_fits_beside_its_working_memory() -> None:
    assert plan([Gpu(10 * GIB + 2**29)], NEEDED, LAYERS) == 9
    assert plan([Gpu(GIB)], NEEDED, LAYERS) == 0


def test_two_gpus_share() -> None:
    one = Gpu(10 * GIB + 2**28)
    assert plan([one, one], NEEDED, LAYERS) == 2 * plan([one], NEEDED, LAYERS) == 18


@given(st.lists(st.integers(0, 100 * GIB).map(Gpu), max_size=4), st.integers(0, 512))
def test_a_plan_never_takes_more_than_is_free(gpus: list[Gpu], layers: int) -> None:
    planned = plan(gpus, NEEDED, layers)
    assert 0 <= planned <= layers + 1
    share = (NEEDED.weights + NEEDED.kv_cache) / (layers + 1)
    assert planned * share <= sum(gpu.free for gpu in gpus) + 1


class Loader:
    """Loads as many layers as it has room for."""

    def __init__(self, room: int, error: Exception) -> None:
        self.tried: list[int] = []
        self._room, self._error = room, error

    def __call__(self, layers: int) -> int:
        self.tried.append(layers)
        if layers > self._room:
            raise self._error
        return layers


@pytest.mark.parametrize("error", [OutOfSpace("full"), ModelLoadFailed("full")])
def test_what_does_not_fit_after_all_is_tried_with_fewer(error: Exception) -> None:
    loader, log = Loader(5, error), list[str]()
    assert with_fewer(33, loader, log.append) == 4
    assert loader.tried == [33, 16, 8, 4]
    assert log[0] == "33 layers on GPUs failed (full); trying 16"


def test_a_first_success_is_the_only_attempt() -> None:
    loader = Loader(99, OutOfSpace("full"))
    assert (with_fewer(33, loader, print), loader.tried) == (33, [33])


def test_a_failure_without_a_gpu_is_final() -> None:
    loader = Loader(-1, ModelLoadFailed("a bad file"))
    with pytest.raises(ModelLoadFailed, match="a bad file"):
        with_fewer(3, loader, lambda line: None)
    assert loader.tried == [3, 1, 0]


def test_other_errors_are_not_about_memory() -> None:
    loader = Loader(0, ValueError("a fault of ours"))
    with pytest.raises(ValueError, match="ours"):
        with_fewer(3, loader, lambda line: None)
    assert loader.tried == [3]
