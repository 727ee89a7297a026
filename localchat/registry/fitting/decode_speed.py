"""How many tokens a second a model is expected to write.

A token costs the time to read the weights it uses and the KV cache so far, and some that no
bandwidth shortens: hundreds of graph nodes, after each of which the threads wait for each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from localchat.registry.fitting.candidates import Candidate
from localchat.registry.fitting.capacity import Capacity

EFFICIENCY = 0.7
"""The part of the measured bandwidth that computing reads at.

On two cores of an EPYC whose memory was read at 21 GB/s, a step over files of 0.5 to 1 GB in Q4_0,
Q4_K and Q8_0 came to 13.4 to 14.6 GB/s; with one thread, 7.3 to 9.1 of 12 to 14 GB/s.
"""

OVERHEAD = 0.001
"""Seconds a token, beside reading: what the starter model's 6.8 ms for its 98 MB leave."""

# A GPU's memory is not measured. This is what the smallest cards of recent years have, 64 bits of
# GDDR6: what comes of it is nearly always a lower bound.
_VRAM_BANDWIDTH = 112e9


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes that one token reads."""

    memory: float
    vram: float

    @property
    def total(self) -> float:
        return self.memory + self.vram


def traffic(candidate: Candidate, kv_bytes: int, needed: int, capacity: Capacity) -> Traffic:
    """What a token reads with so many bytes in the KV cache, of a model that takes `needed` in all.

    GPUs take what they have room for, by whole layers; the rest is computed from memory.
    """
    read = candidate.weights * candidate.active_share + kv_bytes
    on_gpus = min(1.0, capacity.vram / max(1, needed))
    return Traffic(read * (1 - on_gpus), read * on_gpus)


def expected(read: Traffic, bandwidth: float) -> float:
    """Tokens a second, of a model alone on the machine. `bandwidth`: bytes a second."""
    slow = read.memory / (EFFICIENCY * bandwidth)
    fast = read.vram / (EFFICIENCY * _VRAM_BANDWIDTH)
    return 1 / (slow + fast + OVERHEAD)
