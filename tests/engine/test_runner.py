"""The runner on a tiny real model: rows in, tokens, scores and memory out."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from localchat.engine.runner import ModelRunner
from localchat.engine.scheduled import (
    Aborted,
    Chunk,
    Copy,
    Cut,
    Output,
    Restore,
    Save,
    ScheduledBatch,
    State,
)
from localchat.engine.sequence import Sequence
from localchat.engine.threads import Governor
from localchat.errors import EngineFailed
from localchat.llama import library
from localchat.llama.context import Context
from localchat.llama.logits import LogProbs
from localchat.llama.model import Model
from localchat.types import SamplingParams
from tests.engine.fakes import sequence

PROMPT = [21, 22, 23, 24, 25, 26, 27, 28]


@dataclass
class Rig:
    context: Context
    runner: ModelRunner
    kept: list[tuple[list[int], State, str | None]]

    def run(
        self, *chunks: Chunk, edits: tuple[Cut | Copy | Restore | Save, ...] = ()
    ) -> list[Output]:
        batch = ScheduledBatch(list(edits), list(chunks), sum(c.num_rows for c in chunks))
        return self.runner.run(batch)

    def length(self, slot: int) -> int:
        return self.context.memory.length(slot)


def rig_of(path: Path) -> Rig:
    library.start(lambda line: None)
    model = Model(str(path))
    context = Context(model, n_ctx=256, n_batch=16, n_sequences=3, n_threads=1)
    kept: list[tuple[list[int], State, str | None]] = []
    runner = ModelRunner(
        context,
        model.vocabulary,
        Governor(1),
        token_budget=16,
        keep_state=lambda *state: kept.append(state),
    )
    return Rig(context, runner, kept)


@pytest.fixture
def rig(tiny: Callable[..., Path]) -> Iterator[Rig]:
    made = rig_of(tiny())
    yield made
    made.context.close()


def greedy(tokens: list[int] = PROMPT, logprobs: int | None = None) -> Sequence:
    seq = sequence(tokens)
    # No token ends the text.
    chosen = SamplingParams(temperature=0.0, logit_bias=((0, -1e9), (2, -1e9)), logprobs=logprobs)
    seq.request = replace(seq.request, params=chosen)
    return seq


def whole(seq: Sequence, slot: int = 0) -> Chunk:
    return Chunk(seq, slot, 0, len(seq.tokens), is_last=True)


def plain(rig: Rig, count: int, slot: int = 2) -> list[int]:
    """The first tokens of the completion, one a step."""
    seq = greedy()
    for _ in range(count):
        start = rig.length(slot)
        chunk = Chunk(seq, slot, start, len(seq.tokens) - start, is_last=True)
        seq.tokens += rig.run(chunk)[0].tokens
    rig.context.memory.clear(slot)
    return seq.tokens[len(PROMPT) :]


def test_a_chunk_that_is_not_the_last_gives_nothing(rig: Rig) -> None:
    seq = greedy()
    assert rig.run(Chunk(seq, 0, 0, 5, is_last=False)) == [Output()]
    assert rig.length(0) == 5
    (output,) = rig.run(Chunk(seq, 0, 5, 3, is_last=True))
    assert list(output.tokens) == plain(rig, 1)


@pytest.mark.parametrize("right", range(5))
def test_guesses_are_kept_as_long_as_they_are_right(rig: Rig, right: int) -> None:
    expected = plain(rig, 6)
    seq = greedy()
    seq.tokens += rig.run(whole(seq))[0].tokens
    draft = tuple(
        token if at < right else (token + 1) % 200 + 5 for at, token in enumerate(expected[1:5])
    )
    start = len(PROMPT)
    (output,) = rig.run(Chunk(seq, 0, start, 1, is_last=True, draft=draft))
    assert list(output.tokens) == expected[1 : right + 2]
    assert rig.length(0) == start + 1 + right, "what was guessed wrong is forgotten"


def test_each_token_has_its_own_scores(rig: Rig) -> None:
    expected = plain(rig, 3)
    seq = greedy(logprobs=2)
    (first,) = rig.run(whole(seq))
    seq.tokens += first.tokens
    (output,) = rig.run(Chunk(seq, 0, len(PROMPT), 1, is_last=True, draft=tuple(expected[1:2])))
    assert len(first.scores) == 1
    assert len(output.scores) == len(output.tokens) == 2
    for token, score in zip(output.tokens, output.scores, strict=True):
        assert len(score.top) == 2
        assert score.logprob <= score.top[0][1]
        assert (score.logprob == score.top[0][1]) == (token == score.top[0][0])


def test_the_targets_of_a_text_are_scored_in_whatever_chunks_it_comes(rig: Rig) -> None:
    targets = (31, 32, 33)
    tokens = [*PROMPT, *targets[:-1]]
    rig.run(Chunk(greedy(tokens), 2, 0, len(tokens), is_last=True))
    seq = sequence(tokens, targets=targets)
    found = []
    for start, count in ((0, 6), (6, 3), (9, 1)):
        (output,) = rig.run(Chunk(seq, 0, start, count, is_last=start == 9))
        assert output.tokens == ()
        found += [score.logprob for score in output.scores]
    (together,) = rig.run(whole(sequence(tokens, targets=targets), slot=1))
    row = len(tokens) - 1
    assert together.scores[-1].logprob == LogProbs.after(rig.context, row).of(targets[-1])
    assert found == pytest.approx([score.logprob for score in together.scores], abs=1e-2)


def test_other_texts_first_tokens_are_told_by_the_same_row(rig: Rig) -> None:
    seq = sequence([*PROMPT, 31], targets=(31, 32), alternatives=((1, 40), (2, 41)))
    (output,) = rig.run(whole(seq))
    told = [score.logprob for score in output.scores]
    assert len(told) == 4
    alone = []
    for token in (31, 40, 41):
        rig.runner.keep(1, 0)
        (one,) = rig.run(whole(sequence(PROMPT, targets=(token,)), slot=1))
        alone.append(one.scores[0].logprob)
    assert told[:3] == pytest.approx(alone, abs=1e-2)


def test_a_state_is_saved_with_its_tokens_and_restored(rig: Rig) -> None:
    expected = plain(rig, 1)
    seq, other = greedy(), greedy([40])
    rig.run(Chunk(seq, 0, 0, 7, is_last=False))
    rig.run(whole(other, slot=1), edits=(Save(0, PROMPT[:7], conversation="chat"), Cut(0, 0)))
    ((tokens, state, conversation),) = rig.kept
    assert (tokens, conversation) == (PROMPT[:7], "chat")
    assert rig.length(0) == 0
    again = Chunk(greedy(), 0, 7, 1, is_last=True)
    (output,) = rig.run(again, edits=(Restore(0, tokens, state),))
    assert list(output.tokens) == expected


def test_a_state_that_is_refused_is_computed(rig: Rig) -> None:
    tokens = [20 + at % 50 for at in range(40)]  # more than one batch
    (expected,) = rig.run(*prefill(rig, tokens))
    seq = greedy(tokens)
    (output,) = rig.run(
        Chunk(seq, 1, 39, 1, is_last=True), edits=(Restore(1, tokens[:39], b"no state"),)
    )
    assert output.tokens == expected.tokens


def prefill(rig: Rig, tokens: list[int]) -> list[Chunk]:
    seq = greedy(tokens)
    for start in range(0, 32, 16):
        rig.run(Chunk(seq, 0, start, 16, is_last=False))
    return [Chunk(seq, 0, 32, 8, is_last=True)]


def test_an_abort_while_a_state_is_computed_comes_after_it(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    tokens = [20 + at % 50 for at in range(40)]
    decode, calls = Context.decode, iter([False, True])

    def interrupt(self: Context, batch: object) -> bool:
        if next(calls, False):
            self.abort()
        return decode(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(Context, "decode", interrupt)
    chunk = Chunk(greedy(tokens), 1, 39, 1, is_last=True)
    with pytest.raises(Aborted):
        rig.run(chunk, edits=(Restore(1, tokens[:39], b"no state"), Copy(1, 2, 10)))
    assert (rig.length(1), rig.length(2)) == (39, 10), "all edits are made"
    rig.runner.clear_abort()
    assert rig.runner.keep(1, 39) == 39
    assert len(rig.run(chunk)[0].tokens) == 1


def test_edits_behind_one_that_fails_are_made(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.run(Chunk(greedy(), 0, 0, 8, is_last=False))

    def fail(self: Context, batch: object) -> bool:
        raise EngineFailed("It broke.")

    monkeypatch.setattr(Context, "decode", fail)
    edits = (Restore(1, PROMPT[:7], b"no state"), Copy(0, 2, 5), Cut(0, 3))
    with pytest.raises(EngineFailed, match="It broke"):
        rig.run(whole(greedy(), slot=1), edits=edits)
    assert (rig.length(0), rig.length(2)) == (3, 5)


def test_what_is_kept_after_an_abort_is_told(tiny: Callable[..., Path]) -> None:
    for name, kept in (("llama", 5), ("mamba", 0)):
        rig = rig_of(tiny(name))
        rig.run(Chunk(greedy(), 0, 0, 8, is_last=False))
        assert rig.runner.keep(0, 8) == 8
        assert rig.runner.keep(0, 5) == kept == rig.length(0)
        assert rig.runner.keep(0, 0) == 0 == rig.length(0)


def test_a_cut_that_this_memory_can_not_make_is_our_bug(tiny: Callable[..., Path]) -> None:
    rig = rig_of(tiny("mamba"))
    seq = greedy()
    rig.run(Chunk(seq, 0, 0, 5, is_last=False))
    with pytest.raises(AssertionError, match="can't make"):
        rig.run(Chunk(seq, 0, 3, 1, is_last=False), edits=(Cut(0, 3),))
