"""What might run on this machine: everything that decides whether it does, and how fast.

What the catalogue does not know of a model is estimated, on the high side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from localchat import fit, gguf, speeds
from localchat.fit import Estimate, Footprint
from localchat.gguf import Header
from localchat.types import KVType

if TYPE_CHECKING:
    from localchat.registry.catalogue.catalog import Entry

# How much more than its quantization's own bits a weight takes in a file, and what the tables for
# tokens add, which are kept in finer ones: no model of the catalogue has more.
_MORE_BITS, _TABLES = 1.8, 150e6
_UNKNOWN_BITS = 16
_PROJECTOR = 1_000_000_000  # bytes, where nobody says; most have less

# A token's place in the KV cache, in numbers of 16 bits, grows like the width of a model times its
# layers, which is about (weights)^(2/3). The factor is that of models in which no heads share keys;
# most newer ones take a half to a tenth. Recurrent layers keep states instead, as large as that of
# some thousand tokens. A vocabulary of 262,144 tokens makes most of what computing takes.
_KV_FACTOR, _LEAST_TOKENS, _COMPUTING = 0.18, 4096, 750_000_000


@dataclass(frozen=True, slots=True)
class Candidate:
    """One model file."""

    name: str
    """What to type to get it."""
    quantization: str
    weights: int
    """Bytes of its files."""
    download: int
    """Bytes that have to be fetched to install it, projector included."""
    header: Header | None
    """What decides its memory; None: it is estimated."""
    parameters: int
    active_share: float
    """The part of the weights that a token uses: less than 1 in a mixture of experts."""
    context_length: int
    """Tokens it was trained to see at once; 0: not known."""
    speed_key: str | None
    """What its real runs are filed under; None: it can't have run yet."""
    is_estimated: bool = False
    """Whether its size, or the memory beside its weights, is a guess on the high side."""
    kind: str | None = None
    """As in its manifest; None: not in the catalogue."""
    released: str | None = None
    """YYYY-MM or YYYY."""
    licence: str | None = None
    licence_note: str | None = None
    thinking: str | None = None
    is_pinned: bool = True
    installed: bool = False

    def needs(self, context: int, kv_type: KVType, sequences: int) -> Estimate:
        """Bytes of memory with a context of so many tokens, `sequences` at a time."""
        if self.header is not None:
            whole = Footprint(self.header, self.weights, kv_type, sequences, fit.TOKEN_BUDGET)
            return whole.estimate(context)
        cells = max(context, _LEAST_TOKENS)
        token = _KV_FACTOR * self.parameters ** (2 / 3) * fit.KV_BYTES[kv_type] / 2
        return Estimate(self.weights, round(cells * token), _COMPUTING)


def of_entry(entry: Entry) -> Candidate:
    """A model of the catalogue, as if it were not installed."""
    manifest, file = entry.manifest, entry.file
    total = file.total
    weights = total or _weights(manifest.parameters, file.quantization)
    beside = (manifest.projector.size or _PROJECTOR) if manifest.projector else 0
    digest = None if file.shards else file.sha256
    return Candidate(
        name=entry.name,
        quantization=file.quantization,
        weights=weights,
        download=weights + beside,
        header=manifest.header,
        parameters=manifest.parameters,
        active_share=(manifest.active_parameters or manifest.parameters) / manifest.parameters,
        context_length=manifest.context_length,
        speed_key=digest,
        is_estimated=total is None or manifest.header is None,
        kind=manifest.kind,
        released=manifest.released,
        licence=manifest.licence,
        licence_note=manifest.licence_note,
        thinking=manifest.thinking,
        is_pinned=file.pinned,
    )


def of_file(name: str, path: Path, key: str | None = None) -> Candidate:
    """A file of this machine. Raises ModelLoadFailed for what is no GGUF file."""
    header = gguf.read_file(path)
    size = sum(part.stat().st_size for part in gguf.parts(path))
    return of_header(name, header, size, key or speeds.key(None, str(path)), is_installed=True)


def of_header(
    name: str,
    header: Header,
    size: int,
    key: str | None,
    *,
    quantization: str | None = None,
    is_installed: bool = False,
) -> Candidate:
    """A model that is known by the header of its file, of `size` bytes, alone."""
    tag = quantization or header.quantization or "?"
    return Candidate(
        name=name,
        quantization=tag,
        weights=size,
        download=size,
        header=header,
        parameters=header.parameters or round(8 * size / _bits(tag)),
        active_share=active_share(header),
        context_length=header.context_length,
        speed_key=key,
        licence=header.licence or None,
        is_pinned=False,
        installed=is_installed,
    )


def active_share(header: Header) -> float:
    """The part of its weights that a token uses, from the widths of its layers.

    In a mixture of experts that is a few of the experts, and everything else.
    """
    experts, used = header.number("expert_count"), header.number("expert_used_count")
    if not 0 < used < experts:
        return 1.0
    layers, width = header.number("block_count"), header.number("embedding_length")
    hidden = header.number("feed_forward_length")
    mixed = 3 * layers * width * header.number("expert_feed_forward_length", hidden) * experts
    rest = 4 * layers * width * width + 2 * width * header.vocabulary_size
    return (mixed * used / experts + rest) / max(1, mixed + rest)


def _weights(parameters: int, quantization: str) -> int:
    """Bytes of a file of so many weights."""
    return round(parameters * _bits(quantization) / 8 + _TABLES)


def _bits(quantization: str) -> float:
    """Bits of a weight, at most: Q4_K_M has 4 and some, MXFP4 too, F16 16."""
    number = re.search(r"\d+", quantization)
    return _MORE_BITS + (int(number[0]) if number else _UNKNOWN_BITS)
