"""Puts the parts of an engine together around a context."""

from __future__ import annotations

import functools

from localchat.engine import grammar
from localchat.engine.cells import CellLedger
from localchat.engine.draft_model import DraftModel
from localchat.engine.engine import Engine
from localchat.engine.intake import Intake
from localchat.engine.kv_cache import KVCache
from localchat.engine.prompt import PromptBuilder
from localchat.engine.runner import ModelRunner
from localchat.engine.saved import SavedStates
from localchat.engine.scheduled import State
from localchat.engine.scheduler import Scheduler
from localchat.engine.slots import SlotTable
from localchat.engine.snapshot_writer import BackgroundWriter
from localchat.engine.snapshots import SnapshotStore
from localchat.engine.speculation import NgramLookup, Speculation
from localchat.engine.threads import Governor, ProcStat, default_threads
from localchat.fit import SPARE_SEQUENCES, TOKEN_BUDGET
from localchat.llama.context import Context
from localchat.llama.model import Model
from localchat.llama.sampler import token_biases
from localchat.llama.vocabulary import Vocabulary
from localchat.types import LoadOptions, SamplingParams


def assemble(
    weights: Model,
    context: Context,
    prompts: PromptBuilder,
    options: LoadOptions,
    store: SnapshotStore | None,
) -> Engine:
    """An engine that keeps conversations in `store`, if there is one."""
    vocabulary = weights.vocabulary
    can_cut, window = not weights.has_recurrent_memory, weights.sliding_window
    num_slots = options.parallel + SPARE_SEQUENCES
    token_budget = min(TOKEN_BUDGET, context.n_ctx)
    governor = Governor(
        options.threads or default_threads(), pinned=options.threads > 0, meter=ProcStat()
    )
    cells = CellLedger(context.n_ctx, num_slots)
    states = SavedStates(store, is_whole=not can_cut or window > 0)
    writer = BackgroundWriter(store) if store else None

    def floor(slot: int) -> int:
        first = context.memory.first(slot)
        return first + window if first > 0 else 0

    cache = KVCache(
        SlotTable(num_slots, cells, can_cut=can_cut),
        cells,
        states=states,
        floor=floor if window else None,
    )
    scheduler = Scheduler(
        cache,
        token_budget=token_budget,
        num_spare=SPARE_SEQUENCES,
        drafter=_drafter(options, context, vocabulary, governor) if can_cut else None,
    )

    def keep_state(tokens: list[int], state: State, conversation: str | None) -> None:
        if writer is not None:
            writer.submit(tokens, state, conversation=conversation)

    runner = ModelRunner(
        context,
        vocabulary,
        governor,
        token_budget=token_budget,
        keep_state=keep_state,
    )
    tokenize = functools.partial(vocabulary.tokenize, add_special=False, parse_special=False)

    def biases(params: SamplingParams) -> tuple[tuple[int, float], ...]:
        return token_biases(params.logit_bias, vocabulary.size, tokenize)

    intake = Intake(
        prompts,
        tokenize,
        biases,
        grammar.constraint,
        context=context.n_ctx,
        can_grow=context.n_ctx < weights.trained_context,
        has_checkpoints=not can_cut,
    )
    return Engine(
        scheduler,
        runner,
        intake,
        vocabulary,
        context=context.n_ctx,
        checkpoints=None if can_cut else states,
        snapshots=writer,
    )


def _drafter(
    options: LoadOptions, context: Context, vocabulary: Vocabulary, governor: Governor
) -> Speculation:
    if options.draft is None:
        return Speculation(NgramLookup(), lambda: governor.row_cost)
    draft = DraftModel(options.draft, vocabulary, context.n_ctx, lambda: governor.choose(1))

    def row_cost() -> float:
        return governor.row_cost + draft.seconds / max(governor.step_seconds, draft.seconds)

    return Speculation(draft, row_cost)
