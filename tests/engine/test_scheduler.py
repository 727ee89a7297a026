from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.engine.scheduler import Aborted, Copy, Cut, ScheduledBatch, Scheduler
from localchat.engine.sequence import Sequence
from localchat.engine.slots import SlotTable
from tests.engine.fakes import FakeRunner, sequence, undisturbed

STEPS = 3000  # many more than any scenario needs


@dataclass(frozen=True)
class Job:
    prompt: list[int]
    completion: int
    arrives: int
    cancelled: int | None
    reuse: bool


@dataclass(frozen=True)
class Scenario:
    num_slots: int
    num_cells: int
    token_budget: int
    can_cut: bool
    jobs: list[Job]
    aborts: list[bool]
    seed: int


@st.composite
def scenarios(draw: st.DrawFn) -> Scenario:
    num_cells = draw(st.integers(4, 40))
    shared = draw(st.lists(st.integers(0, 4), max_size=num_cells // 2))
    own = st.lists(st.integers(0, 4), min_size=1, max_size=num_cells - 1)
    prompt = st.builds(lambda head, tail: (head + tail)[: num_cells - 1], st.just(shared), own)
    job = st.builds(
        Job,
        prompt=prompt | own,
        completion=st.integers(1, 20),
        arrives=st.integers(0, 30),
        cancelled=st.none() | st.integers(0, 60),
        reuse=st.booleans(),
    )
    return Scenario(
        num_slots=draw(st.integers(1, 4)),
        num_cells=num_cells,
        token_budget=draw(st.integers(1, 24)),
        can_cut=draw(st.booleans()),
        jobs=draw(st.lists(job, min_size=1, max_size=7)),
        aborts=draw(st.lists(st.booleans(), max_size=40)),
        seed=draw(st.integers(0, 1000)),
    )


class Simulation:
    """Drives a scheduler as the engine does, and checks every batch."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.scheduler = Scheduler(
            SlotTable(scenario.num_slots, can_cut=scenario.can_cut),
            num_cells=scenario.num_cells,
            token_budget=scenario.token_budget,
        )
        self.runner = FakeRunner(
            scenario.num_cells, scenario.token_budget, can_cut=scenario.can_cut
        )
        self.random = random.Random(scenario.seed)
        self.sequences = [sequence(job.prompt, reuse=job.reuse) for job in scenario.jobs]
        self.ended: Counter[Sequence] = Counter()

    def run(self) -> None:
        arrivals = sorted(range(len(self.sequences)), key=lambda i: self.scenario.jobs[i].arrives)
        order = {self.sequences[i]: rank for rank, i in enumerate(arrivals)}
        for step in range(STEPS):
            self._arrive_and_cancel(step, arrivals)
            if not self.scheduler.has_work and step > 60:
                return
            batch = self.scheduler.schedule()
            queue = [order[s] for s in [*self.scheduler.running, *self.scheduler.waiting]]
            assert queue == sorted(queue), "nobody overtakes"
            self._check(batch)
            if batch.chunks:
                self._run_batch(step, batch)
        raise AssertionError("some request never ends")

    def _arrive_and_cancel(self, step: int, arrivals: list[int]) -> None:
        for i in arrivals:
            job, seq = self.scenario.jobs[i], self.sequences[i]
            if job.arrives == step:
                self.scheduler.add(seq)
            cancelled_at = None if job.cancelled is None else max(job.cancelled, job.arrives)
            if cancelled_at == step and not self.ended[seq]:
                self._finish(seq)

    def _run_batch(self, step: int, batch: ScheduledBatch) -> None:
        aborts = self.scenario.aborts
        self.runner.aborted = step < len(aborts) and aborts[step]
        self.runner.partly_done = self.random.randrange(batch.num_tokens + 1)
        try:
            tokens = self.runner.run(batch)
        except Aborted:
            self.scheduler.roll_back(batch, self.runner.keep)
            return
        jobs = dict(zip(self.sequences, self.scenario.jobs, strict=True))
        for seq, _ in self.scheduler.postprocess(batch, tokens):
            full = len(seq.tokens) >= self.scenario.num_cells
            if full or seq.num_completion_tokens >= jobs[seq].completion:
                self._finish(seq)

    def _finish(self, seq: Sequence) -> None:
        self.scheduler.finish(seq)
        self.ended[seq] += 1

    def _check(self, batch: ScheduledBatch) -> None:
        assert bool(batch.chunks) == self.scheduler.has_work, "work makes progress"
        held = [seq.slot for seq in self.scheduler.running]
        assert None not in held
        assert len(held) == len(set(held)), "no slot is held twice"
        assert all(seq.slot is None for seq in self.scheduler.waiting)
        assert batch.num_tokens == sum(chunk.count for chunk in batch.chunks)
        limit = self.scenario.num_cells // 4
        assert not batch.chunks or not self.scheduler.slots.holds_too_much(limit)
        prefills = [chunk.sequence.is_decoding for chunk in batch.chunks]
        assert prefills == sorted(prefills, reverse=True), "decode rows come first"
        decoding = {seq for seq in self.scheduler.running if seq.is_decoding}
        rows = {chunk.sequence for chunk in batch.chunks}
        assert decoding <= rows or len(rows) == self.scenario.token_budget


@settings(max_examples=300, deadline=None)
@given(scenarios())
def test_every_request_ends_once_with_the_tokens_it_would_get_alone(scenario: Scenario) -> None:
    simulation = Simulation(scenario)
    simulation.run()
    for seq, job in zip(simulation.sequences, scenario.jobs, strict=True):
        assert simulation.ended[seq] == 1
        completion = seq.tokens[len(job.prompt) :]
        assert completion == undisturbed(job.prompt, len(completion))
        if job.cancelled is None:
            room = scenario.num_cells - len(job.prompt)
            assert len(completion) == min(job.completion, room)


def test_a_prompt_beside_a_decoding_sequence_is_prefilled_in_short_chunks() -> None:
    scheduler = Scheduler(SlotTable(2, can_cut=True), num_cells=4096, token_budget=512)
    runner = FakeRunner(4096, 512)
    scheduler.add(sequence([1]))
    step(scheduler, runner)
    scheduler.add(sequence([2] * 1000))
    assert [chunk.count for chunk in step(scheduler, runner).chunks] == [1, 128]


def test_a_lone_prompt_fills_the_token_budget() -> None:
    scheduler = Scheduler(SlotTable(2, can_cut=True), num_cells=4096, token_budget=512)
    scheduler.add(sequence([2] * 1000))
    assert [chunk.count for chunk in scheduler.schedule().chunks] == [512]


def test_a_prefix_that_two_prompts_share_is_computed_once() -> None:
    scheduler = Scheduler(SlotTable(3, can_cut=True), num_cells=256, token_budget=256)
    runner = FakeRunner(256, 256)
    first = sequence([1] * 50)
    scheduler.add(first)
    step(scheduler, runner)
    scheduler.finish(first)
    second, third = sequence([1] * 20 + [2] * 5), sequence([1] * 50 + [3] * 5)
    scheduler.add(second)
    scheduler.add(third)
    batch = step(scheduler, runner)
    assert batch.edits == [Copy(0, 1, 20)]
    assert [chunk.count for chunk in batch.chunks] == [5, 5]
    assert (second.num_cached_tokens, third.num_cached_tokens) == (20, 50)


def test_idle_slots_hold_a_quarter_of_the_cells_at_most_and_nothing_unwanted() -> None:
    scheduler = Scheduler(SlotTable(4, can_cut=True), num_cells=40, token_budget=40)
    runner = FakeRunner(40, 40)
    done = [sequence([1] * 6), sequence([2] * 6, reuse=False), sequence([3] * 6)]
    for each in done:
        scheduler.add(each)
    step(scheduler, runner)
    for each in done:
        scheduler.finish(each)
    scheduler.add(sequence([4]))
    assert step(scheduler, runner).edits == [Cut(1, 0), Cut(0, 0)]
    assert scheduler.slots.num_idle_tokens == 6


def test_a_prefix_is_copied_over_an_older_conversation() -> None:
    scheduler = Scheduler(SlotTable(2, can_cut=True), num_cells=64, token_budget=64)
    runner = FakeRunner(64, 64)
    both = sequence([1] * 9), sequence([2] * 9)
    for done in both:
        scheduler.add(done)
    step(scheduler, runner)
    for done in both:
        scheduler.finish(done)
    scheduler.add(sequence([2] * 3 + [3]))
    assert step(scheduler, runner).edits == [Cut(0, 0), Copy(1, 0, 3)]


def test_a_prompt_waits_until_its_cells_are_free() -> None:
    scheduler = Scheduler(SlotTable(2, can_cut=True), num_cells=12, token_budget=12)
    runner = FakeRunner(12, 12)
    old, new = sequence([1] * 5), sequence([2] * 8)
    scheduler.add(old)
    step(scheduler, runner)
    scheduler.add(new)
    step(scheduler, runner)
    assert list(scheduler.waiting) == [new]
    scheduler.finish(old)
    step(scheduler, runner)
    assert scheduler.running == [new]


def test_idle_slots_give_up_their_cells_before_a_sequence_is_preempted() -> None:
    scheduler = Scheduler(SlotTable(2, can_cut=True), num_cells=20, token_budget=20)
    runner = FakeRunner(20, 20)
    first, second = sequence([1] * 10), sequence([2] * 10)
    scheduler.add(first)
    step(scheduler, runner)
    scheduler.finish(first)
    scheduler.add(second)
    step(scheduler, runner)
    assert Cut(0, 0) in step(scheduler, runner).edits
    assert second in scheduler.running


def test_the_newest_sequence_waits_when_the_cells_run_out() -> None:
    scheduler = Scheduler(SlotTable(2, can_cut=True), num_cells=12, token_budget=12)
    runner = FakeRunner(12, 12)
    old, new = sequence([1] * 5), sequence([2] * 5)
    scheduler.add(old)
    scheduler.add(new)
    while new in scheduler.running or not new.num_completion_tokens:
        step(scheduler, runner)
    step(scheduler, runner)
    assert scheduler.running == [old], "there is still no room for the other"
    assert list(scheduler.waiting) == [new]
    scheduler.finish(old)
    while new.num_completion_tokens < 5:
        step(scheduler, runner)
    assert new.tokens[5:] == undisturbed([2] * 5, 5)


def test_a_finished_sequence_can_be_finished_again_without_harm() -> None:
    scheduler = Scheduler(SlotTable(1, can_cut=True), num_cells=8, token_budget=8)
    done = sequence([1])
    scheduler.add(done)
    scheduler.schedule()
    scheduler.finish(done)
    scheduler.finish(done)
    assert not scheduler.has_work


def test_a_sequence_longer_than_the_kv_cache_is_our_bug() -> None:
    scheduler = Scheduler(SlotTable(1, can_cut=True), num_cells=8, token_budget=8)
    with pytest.raises(AssertionError):
        scheduler.add(sequence([1] * 9))


def step(scheduler: Scheduler, runner: FakeRunner) -> ScheduledBatch:
    batch = scheduler.schedule()
    scheduler.postprocess(batch, runner.run(batch))
    return batch
