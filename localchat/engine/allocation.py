"""Decides what a model gets (how long a context, how many layers on GPUs), and allocates it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from localchat import room
from localchat.engine.offload import plan, with_fewer
from localchat.engine.prompt import PromptBuilder
from localchat.engine.threads import default_threads
from localchat.errors import LocalchatError
from localchat.fit import (
    CONTEXT_STEP,
    SPARE_SEQUENCES,
    TOKEN_BUDGET,
    context_length,
    draft_footprint,
    footprint,
)
from localchat.types import LoadOptions, ModelRef

if TYPE_CHECKING:
    from localchat.llama.context import Context
    from localchat.llama.model import Model

_T = TypeVar("_T")


def allocate(
    model: ModelRef, options: LoadOptions, log: Callable[[str], None]
) -> tuple[Model, Context, PromptBuilder]:
    """The weights, a context of them, and what makes prompts for them.

    Raises OutOfSpace, before anything is loaded where that can be foreseen; ModelLoadFailed,
    ConfigError, TemplateFailed.
    """
    needed = footprint(model.path, options)
    # Imported here: it takes 0.1 s, in which the engine process already listens.
    from localchat.llama import devices, library

    library.start(log)
    log(library.build_info())
    gpus = devices.gpus() if options.gpu_layers else []
    found = room.find()
    on_gpus = sum(gpu.free for gpu in gpus if gpu.has_own_memory)
    draft = draft_footprint(options.draft) if options.draft else None
    beside = draft.estimate(CONTEXT_STEP).total if draft else 0
    length = context_length(needed, options, found.memory + on_gpus - beside)
    beside = draft.estimate(length).total if draft else 0
    name = f"{model.name}, beside its draft model," if draft else model.name
    needed.check(length, found.total + on_gpus - beside, name)
    layers = plan(gpus, needed.estimate(length), needed.layers)
    if options.gpu_layers > 0:
        layers = min(options.gpu_layers, needed.layers + 1) if gpus else 0
    log(f"context of {length} tokens, {layers} layers on GPUs; {found.memory} bytes available")
    # llama.cpp holds no interpreter lock while it works, so Python's share runs beside it.
    imported = _beside(_import_the_rest)

    def attempt(layers: int) -> tuple[Model, Context, PromptBuilder]:
        return _load(model, options, length, layers, imported)

    return with_fewer(layers, attempt, log)


def _load(
    model: ModelRef,
    options: LoadOptions,
    length: int,
    gpu_layers: int,
    imported: Callable[[], object],
) -> tuple[Model, Context, PromptBuilder]:
    from localchat.llama.context import Context
    from localchat.llama.model import Model

    weights = Model(model.path, gpu_layers=gpu_layers)
    imported()
    prompts = _beside(lambda: _prompt_builder(weights, model))
    try:
        context = Context(
            weights,
            n_ctx=length,
            n_batch=min(TOKEN_BUDGET, length),
            n_sequences=options.parallel + SPARE_SEQUENCES,
            n_threads=options.threads or default_threads(),
            kv_type=options.kv_type,
        )
    except LocalchatError:
        with suppress(LocalchatError):  # it still reads the vocabulary; this error comes first
            prompts()
        weights.close()
        raise
    return weights, context, prompts()


def _import_the_rest() -> None:
    for name in ("chat_template", "assemble"):
        import_module(f"localchat.engine.{name}")


def _prompt_builder(weights: Model, model: ModelRef) -> PromptBuilder:
    from localchat.engine.chat_template import ChatTemplate

    vocabulary = weights.vocabulary
    source = model.chat_template or weights.chat_template
    template = ChatTemplate(source, bos=vocabulary.bos, eos=vocabulary.eos) if source else None
    return PromptBuilder(vocabulary, template)


def _beside(work: Callable[[], _T]) -> Callable[[], _T]:
    """Runs `work` in a thread; calling the result waits, and returns or raises what it did."""
    outcome: list[_T] = []
    error: list[BaseException] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as raised:
            error.append(raised)

    thread = threading.Thread(target=run)
    thread.start()

    def result() -> _T:
        thread.join()
        if error:
            raise error[0]
        return outcome[0]

    return result
