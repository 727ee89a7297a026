"""Puts an engine together from a model file. Takes seconds for large models."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

from localchat.engine.engine import Engine
from localchat.engine.prompt import PromptBuilder
from localchat.engine.scheduler import Scheduler
from localchat.engine.slots import SlotTable
from localchat.engine.threads import default_threads
from localchat.types import LoadOptions, ModelRef

if TYPE_CHECKING:
    from localchat.llama.model import Model

_T = TypeVar("_T")

# Rows of a step at most. llama.cpp computes them as one unit; more would gain no speed and make
# a step, which other requests wait for, longer.
_TOKEN_BUDGET = 512


@dataclass(frozen=True, slots=True)
class LoadedEngine:
    engine: Engine
    has_chat_template: bool
    load_seconds: float


def load(model: ModelRef, options: LoadOptions, log: Callable[[str], None]) -> LoadedEngine:
    """Loads the model and allocates its context; `log` gets llama.cpp's own lines, raw.

    Raises ModelLoadFailed, OutOfSpace, TemplateFailed. Some damaged files end the process.
    """
    start = time.monotonic()
    # Imported here: the engine process listens, and can be told to leave, before it loads.
    from localchat.engine.runner import ModelRunner
    from localchat.llama import library
    from localchat.llama.context import Context
    from localchat.llama.model import Model

    library.start(log)
    log(library.build_info())
    # llama.cpp holds no interpreter lock while it works, so Python's share runs beside it.
    imported = _beside(lambda: import_module("localchat.engine.chat_template"))
    weights = Model(model.path)
    imported()
    prompts = _beside(lambda: _prompt_builder(weights, model))
    budget = min(_TOKEN_BUDGET, options.context)
    context = Context(
        weights,
        n_ctx=min(options.context, weights.trained_context or options.context),
        n_batch=budget,
        n_sequences=options.parallel,
        n_threads=options.threads or default_threads(),
    )
    slots = SlotTable(options.parallel, can_cut=not weights.has_recurrent_memory)
    engine = Engine(
        Scheduler(slots, num_cells=context.n_ctx, token_budget=budget),
        ModelRunner(context, weights.vocabulary, token_budget=budget),
        prompts(),
        weights.vocabulary,
        context=context.n_ctx,
        can_grow=context.n_ctx < weights.trained_context,
    )
    return LoadedEngine(engine, prompts().has_template, time.monotonic() - start)


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
