"""Puts an engine together from a model file. Takes seconds for large models."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from localchat.engine.engine import Engine
from localchat.engine.scheduler import Scheduler
from localchat.engine.slots import SlotTable
from localchat.engine.threads import default_threads
from localchat.types import LoadOptions, ModelRef

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
    from localchat.llama import library
    from localchat.llama.context import Context
    from localchat.llama.model import Model

    library.start(log)
    log(library.build_info())
    weights = Model(model.path)

    from localchat.engine.chat_template import ChatTemplate
    from localchat.engine.prompt import PromptBuilder
    from localchat.engine.runner import ModelRunner

    vocabulary = weights.vocabulary
    source = model.chat_template or weights.chat_template
    template = ChatTemplate(source, bos=vocabulary.bos, eos=vocabulary.eos) if source else None
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
        ModelRunner(context, vocabulary, token_budget=budget),
        PromptBuilder(vocabulary, template),
        vocabulary,
        context=context.n_ctx,
        can_grow=context.n_ctx < weights.trained_context,
    )
    return LoadedEngine(engine, template is not None, time.monotonic() - start)
