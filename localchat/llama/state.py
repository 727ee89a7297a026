"""Saves what a sequence left in memory, and puts it back: here, or in another process.

A state fits contexts of the same model, llama.cpp build, KV cache types and flash attention; the
size of the context and the sequence's number may differ. It is trusted: llama.cpp loads a damaged
one without complaint, or ends the process, so whoever stores it must guard it with a digest.
"""

from __future__ import annotations

import ctypes
from typing import Any, TypeAlias

from localchat.llama.context import Context
from localchat.llama.library import C

State: TypeAlias = bytes | bytearray | memoryview
"""Its length counts bytes. `save` gives a bytearray, which spares a copy of what may be hundreds of
megabytes."""

_BYTE = ctypes.c_uint8


def save(context: Context, sequence: int, *, partial: bool = False) -> State:
    """The state of `sequence`; empty if there is nothing to save.

    `partial` leaves out the KV cells that can be cut and are still in the context when the state is
    restored: those of a hybrid model's attention layers, or of the layers without a sliding window.
    A model that has only one kind of memory saves all of it either way.
    """
    flags = _flags(partial)
    size = C.llama_state_seq_get_size_ext(context.handle, sequence, flags)
    state = bytearray(size)
    written = C.llama_state_seq_get_data_ext(context.handle, _pointer(state), size, sequence, flags)
    return state if written == size else bytearray()


def restore(context: Context, sequence: int, state: State, *, partial: bool = False) -> bool:
    """Replaces what `sequence` holds by `state`.

    With `partial` the cells that the state leaves out stay as they are; those behind the state's
    last token must then be cut away (`Memory.cut` at the state's length, which can't fail).
    False if llama.cpp refuses it, for want of cells or because it is of another kind; the
    sequence is then empty.
    """
    memory = context.memory
    if not partial:
        # A state without tokens would leave the sequence as it is.
        memory.clear(sequence)
    read = C.llama_state_seq_set_data_ext(
        context.handle, _pointer(state), len(state), sequence, _flags(partial)
    )
    if read == len(state) and read > 0:
        return True
    memory.clear(sequence)
    return False


def _flags(partial: bool) -> int:
    return C.LLAMA_STATE_SEQ_FLAGS_PARTIAL_ONLY if partial else C.LLAMA_STATE_SEQ_FLAGS_NONE


def _pointer(state: State) -> Any:
    """The state's own memory: llama.cpp reads and writes it in place."""
    if isinstance(state, bytearray):
        return (_BYTE * len(state)).from_buffer(state)
    # bytes are read-only, which a pointer to them is not; they are only read.
    return ctypes.cast(ctypes.c_char_p(bytes(state)), ctypes.POINTER(_BYTE))
