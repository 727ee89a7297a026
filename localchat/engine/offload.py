"""How many layers GPUs get, and what happens when they turn out to be too many. Pure policy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from localchat.errors import ModelLoadFailed, OutOfSpace
from localchat.fit import Estimate

_T = TypeVar("_T")

# Of a GPU's free memory, what a display and the backend's own buffers may still want.
_KEPT_FREE = 2**28


class HasMemory(Protocol):
    @property
    def free(self) -> int: ...


def plan(gpus: Sequence[HasMemory], needed: Estimate, layers: int) -> int:
    """Layers that fit on `gpus`, the output layer counted as one more; 0 without GPUs.

    Each layer brings its part of the weights and of the KV cache, each GPU computes in memory of
    its own.
    """
    share = (needed.weights + needed.kv_cache) / (layers + 1)
    room = sum(max(0, gpu.free - needed.compute - _KEPT_FREE) for gpu in gpus)
    return min(layers + 1, int(room / max(1.0, share)))


def with_fewer(layers: int, attempt: Callable[[int], _T], log: Callable[[str], None]) -> _T:
    """What `attempt(layers)` returns; when it fails, with half as many, and at last with none.

    llama.cpp tells a GPU that is too small from a bad file by its log alone, so any refusal is
    tried again; that without a GPU is final.
    """
    while True:
        try:
            return attempt(layers)
        except (ModelLoadFailed, OutOfSpace) as error:
            if layers == 0:
                raise
            log(f"{layers} layers on GPUs failed ({error}); trying {layers // 2}")
            layers //= 2
