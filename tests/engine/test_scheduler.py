from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.engine import scheduler as policy
from localchat.engine.cells import CellLedger
from localchat.engine.scheduled import Aborted, Copy, Cut, Restore, Save, ScheduledBatch
from localchat.engine.scheduler import Drafter, Scheduler, States
from localchat.engine.sequence import Sequence
from localchat.engine.slots import SlotTable, common_prefix
from localchat.types import Priority
from tests.engine.fakes import (
    FakeRunner,
    FakeStates,
    check_books,
    checksum_score,
    checksum_token,
    sequence,
    undisturbed,
)

STEPS = 3000  # many more than any scenario needs

# Small enough for scenarios of some dozen tokens to reach what they decide.
SMALL = {"_WORTH_WAITING": 2, "_WORTH_RESTORING": 3, "WORTH_SAVING": 6}


def new_scheduler(
    num_slots: int,
    num_cells: int,
    token_budget: int,
    *,
    can_cut: bool = True,
    num_spare: int = 0,
    states: States | None = None,
    drafter: Drafter | None = None,
) -> Scheduler:
    cells = CellLedger(num_cells, num_slots)
    return Scheduler(
        SlotTable(num_slots, cells, can_cut=can_cut),
        cells,
        token_budget=token_budget,
        num_spare=num_spare,
        states=states,
        drafter=drafter,
    )


@dataclass(frozen=True)
class Job:
    prompt: list[int]
    completion: int
    """Tokens to generate; of a text to score, how many of the prompt's last are its targets."""
    arrives: int
    cancelled: int | None
    reuse: bool
    priority: Priority
    conversation: str | None
    is_scored: bool
    checkpoints: frozenset[int]


@dataclass(frozen=True)
class Scenario:
    num_slots: int
    num_cells: int
    token_budget: int
    num_spare: int
    can_cut: bool
    has_window: bool
    drafts: bool
    saved: list[list[int]]
    jobs: list[Job]
    aborts: list[bool]
    seed: int


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    num_cells = draw(st.integers(4, 48))
    shared = draw(st.lists(st.integers(0, 4), min_size=num_cells // 4, max_size=num_cells // 2))
    own = st.lists(st.integers(0, 4), min_size=1, max_size=num_cells - 1)
    few = st.lists(st.integers(0, 4), min_size=1, max_size=6)
    prompt = st.builds(lambda tail: (shared + tail)[: num_cells - 1], few)
    job = st.builds(
        Job,
        prompt=prompt | own,
        completion=st.integers(1, 20),
        arrives=st.integers(0, 3) | st.integers(0, 30),
        cancelled=st.none() | st.integers(0, 60),
        reuse=st.sampled_from([True, True, False]),
        priority=st.sampled_from(["interactive", "batch"]),
        conversation=st.sampled_from([None, "a", "b"]),
        is_scored=st.sampled_from([False, False, True]),
        checkpoints=st.frozensets(st.integers(1, num_cells), max_size=2),
    )
    num_slots = draw(st.integers(1, 5))
    can_cut = draw(st.booleans())
    return Scenario(
        num_slots=num_slots,
        num_cells=num_cells,
        token_budget=draw(st.integers(1, 24)),
        num_spare=draw(st.integers(0, num_slots - 1)),
        can_cut=can_cut,
        has_window=can_cut and draw(st.booleans()),
        drafts=can_cut and draw(st.booleans()),
        saved=draw(st.lists(prompt, max_size=2)),
        jobs=draw(st.lists(job, min_size=1, max_size=7)),
        aborts=draw(st.lists(st.booleans(), max_size=40)),
        seed=draw(st.integers(0, 1000)),
    )


@dataclass
class Guesser:
    """Guesses that are right for a while, then sometimes wrong."""

    chance: random.Random

    def propose(self, sequence: Sequence, most: int) -> tuple[int, ...]:
        assert most >= 0
        guesses = undisturbed(sequence.tokens, self.chance.randrange(most + 1))
        if guesses and self.chance.random() < 0.5:
            guesses[self.chance.randrange(len(guesses))] += 1
        return tuple(guesses)


class Simulation:
    """Drives a scheduler as the engine does, and checks every batch."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.chance = random.Random(scenario.seed)
        is_whole = scenario.has_window or not scenario.can_cut
        self.states = FakeStates(scenario.saved, is_whole=is_whole, has_floor=scenario.has_window)
        self.scheduler = new_scheduler(
            scenario.num_slots,
            scenario.num_cells,
            scenario.token_budget,
            can_cut=scenario.can_cut,
            num_spare=scenario.num_spare,
            states=self.states,
            drafter=Guesser(self.chance) if scenario.drafts else None,
        )
        self.runner = FakeRunner(
            scenario.num_cells,
            scenario.token_budget,
            can_cut=scenario.can_cut,
            has_window=scenario.has_window,
        )
        self.sequences = [self._sequence(job) for job in scenario.jobs]
        self.jobs = dict(zip(self.sequences, scenario.jobs, strict=True))
        self.ended: Counter[Sequence] = Counter()
        self.scores: dict[Sequence, dict[int, float]] = {each: {} for each in self.sequences}

    def _sequence(self, job: Job) -> Sequence:
        num_targets = min(job.completion, len(job.prompt)) if job.is_scored else 0
        targets = tuple(token + 1 for token in job.prompt[len(job.prompt) - num_targets :])
        points = () if self.scenario.can_cut or not job.reuse else job.checkpoints
        return sequence(
            job.prompt,
            reuse=job.reuse,
            priority=job.priority,
            conversation=job.conversation,
            targets=targets,
            checkpoints=tuple(sorted(point for point in points if point < len(job.prompt))),
            max_tokens=job.completion,
        )

    def run(self) -> None:
        for step in range(STEPS):
            self._arrive_and_cancel(step)
            if not self.scheduler.has_work and step > 60:
                return
            before = self._queues()
            batch = self.scheduler.schedule()
            self._check_order(before)
            self._check(batch)
            if batch.chunks:
                self._run_batch(step, batch)
                check_books(self.scheduler, self.runner.memory)
        raise AssertionError("some request never ends")

    def _arrive_and_cancel(self, step: int) -> None:
        for seq, job in self.jobs.items():
            if job.arrives == step:
                self.scheduler.add(seq)
            cancelled_at = None if job.cancelled is None else max(job.cancelled, job.arrives)
            if cancelled_at == step and not self.ended[seq]:
                self._finish(seq)

    def _run_batch(self, step: int, batch: ScheduledBatch) -> None:
        aborts = self.scenario.aborts
        self.runner.aborted = step < len(aborts) and aborts[step]
        self.runner.partly_done = self.chance.randrange(batch.num_tokens + 1)
        try:
            outputs = self.runner.run(batch)
        except Aborted:
            self.scheduler.roll_back(batch, self.runner.keep)
            return
        for chunk in batch.chunks:
            if chunk.end in chunk.sequence.checkpoints:
                state = self.runner.save(chunk.slot)
                self.states.checkpoint(chunk.sequence.tokens[: chunk.end], state)
        for seq, output in self.scheduler.postprocess(batch, outputs):
            if seq.targets:
                self._book_scores(seq, [score.logprob for score in output.scores])
            else:
                self._book_tokens(seq)

    def _book_scores(self, seq: Sequence, logprobs: list[float]) -> None:
        first = seq.num_computed_tokens - len(logprobs) - seq.num_reusable_tokens
        self.scores[seq].update(enumerate(logprobs, first))
        if seq.num_remaining_tokens == 0:
            self._finish(seq)

    def _book_tokens(self, seq: Sequence) -> None:
        room = self.scenario.num_cells - seq.num_prompt_tokens
        surplus = seq.num_completion_tokens - min(self.jobs[seq].completion, room)
        if surplus > 0:
            del seq.tokens[-surplus:]
            held = min(seq.num_computed_tokens, len(seq.tokens))
            self.scheduler.keep(seq, held, self.runner.keep)
        if surplus >= 0:
            self._finish(seq)

    def _finish(self, seq: Sequence) -> None:
        self.scheduler.finish(seq)
        self.ended[seq] += 1

    def _queues(self) -> list[list[Sequence]]:
        waiting = list(self.scheduler.waiting)
        return [[s for s in waiting if s.is_interactive == kind] for kind in (True, False)]

    def _check_order(self, before: list[list[Sequence]]) -> None:
        """Within a priority, one overtakes only those that wait for a prefix soon to be there."""
        for queue in before:
            still = [seq for seq in queue if seq.slot is None]
            admitted = [seq for seq in queue if seq.slot is not None]
            last = max(map(queue.index, admitted), default=-1)
            for seq in still:
                if queue.index(seq) < last and seq not in self.ended:
                    assert any(self._will_have_more(other, seq) for other in self.scheduler.running)

    def _will_have_more(self, other: Sequence, seq: Sequence) -> bool:
        if not (other.request.reuse_cache and seq.request.reuse_cache):
            return False
        if seq.is_interactive and not other.is_interactive:
            return False
        common = common_prefix(other.tokens, seq.tokens[: seq.num_reusable_tokens])
        if self.scenario.can_cut:
            return other.num_computed_tokens < common
        return any(other.num_computed_tokens < point <= common for point in other.checkpoints)

    def _check(self, batch: ScheduledBatch) -> None:
        assert bool(batch.chunks) == self.scheduler.has_work, "work makes progress"
        running = self.scheduler.running
        held = [seq.slot for seq in running]
        assert None not in held
        assert len(held) == len(set(held)), "no slot is held twice"
        assert all(seq.slot is None for seq in self.scheduler.waiting)
        spare = self.scenario.num_slots - sum(not seq.is_interactive for seq in running)
        assert spare >= self.scenario.num_spare
        assert not batch.chunks or not self.scheduler.slots.holds_too_much(
            self.scenario.num_cells // 4
        )
        assert all(not seq.num_cached_tokens for seq in running if not seq.request.reuse_cache)
        self._check_turns(batch)

    def _check_turns(self, batch: ScheduledBatch) -> None:
        rows = {chunk.sequence for chunk in batch.chunks}
        prefills = [chunk.sequence.is_decoding for chunk in batch.chunks]
        assert prefills == sorted(prefills, reverse=True), "decode rows come first"
        running = self.scheduler.running
        interactive = [seq for seq in running if seq.is_interactive]
        turn = interactive or running
        decoding = {seq for seq in turn if seq.is_decoding}
        assert decoding <= rows or batch.num_tokens >= self.scenario.token_budget
        if not all(seq.is_decoding for seq in interactive):
            assert all(seq.is_interactive for seq in rows), "an interactive prompt runs alone"


@settings(max_examples=400, deadline=None)
@given(scenarios())
def test_every_request_ends_once_with_the_tokens_it_would_get_alone(scenario: Scenario) -> None:
    simulation = Simulation(scenario)
    with patch.multiple(policy, **SMALL):
        simulation.run()
    for seq, job in simulation.jobs.items():
        assert simulation.ended[seq] == 1
        if seq.targets:
            first = seq.num_reusable_tokens
            expected = {
                at: checksum_score(seq.tokens[: first + at + 1], target)
                for at, target in enumerate(seq.targets)
            }
            scores = simulation.scores[seq]
            assert scores.items() <= expected.items()
            assert job.cancelled is not None or scores == expected
            continue
        completion = seq.tokens[len(job.prompt) :]
        assert completion == undisturbed(job.prompt, len(completion))
        if job.cancelled is None:
            room = scenario.num_cells - len(job.prompt)
            assert len(completion) == min(job.completion, room)
