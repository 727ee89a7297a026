from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.engine import kv_cache as policy
from localchat.engine.cells import CellLedger
from localchat.engine.kv_cache import KVCache, States
from localchat.engine.scheduled import Aborted, Copy, Cut, Restore, Save, ScheduledBatch
from localchat.engine.scheduler import Drafter, Scheduler
from localchat.engine.sequence import Sequence
from localchat.engine.slots import SlotTable, common_prefix
from localchat.types import Priority
from tests.engine.fakes import (
    FakeRunner,
    FakeStates,
    check_books,
    checksum_score,
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
    floor: Callable[[int], int] | None = None,
) -> Scheduler:
    cells = CellLedger(num_cells, num_slots)
    return Scheduler(
        KVCache(SlotTable(num_slots, cells, can_cut=can_cut), cells, states=states, floor=floor),
        token_budget=token_budget,
        num_spare=num_spare,
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
        self.states = FakeStates(scenario.saved, is_whole=is_whole)
        self.runner = FakeRunner(
            scenario.num_cells,
            scenario.token_budget,
            can_cut=scenario.can_cut,
            has_window=scenario.has_window,
        )
        self.scheduler = new_scheduler(
            scenario.num_slots,
            scenario.num_cells,
            scenario.token_budget,
            can_cut=scenario.can_cut,
            num_spare=scenario.num_spare,
            states=self.states,
            drafter=Guesser(self.chance) if scenario.drafts else None,
            floor=self.runner.memory.floor if scenario.has_window else None,
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
        if self.scenario.has_window:
            self.runner.before_run = self._lose_what_left_a_window
        try:
            outputs = self.runner.run(batch)
        except Aborted:
            self.scheduler.roll_back(self.runner.keep)
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

    def _lose_what_left_a_window(self, batch: ScheduledBatch) -> None:
        memory = self.runner.memory
        for slot in memory.slots:
            if self.chance.random() < 0.2:
                memory.lose(slot, self.chance.randrange(memory.length(slot) + 1))

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


@settings(max_examples=200, deadline=None)
@given(scenarios())
def test_every_request_ends_once_with_the_tokens_it_would_get_alone(scenario: Scenario) -> None:
    simulation = Simulation(scenario)
    with patch.multiple(policy, **SMALL):  # type: ignore[call-overload]
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


def step(scheduler: Scheduler, runner: FakeRunner) -> ScheduledBatch:
    batch = scheduler.schedule()
    scheduler.postprocess(batch, runner.run(batch))
    check_books(scheduler, runner.memory)
    return batch


def counts(batch: ScheduledBatch) -> list[int]:
    return [chunk.count for chunk in batch.chunks]


def leave(scheduler: Scheduler, runner: FakeRunner, *sequences: Sequence) -> None:
    """Runs the prompts and ends them after their first token."""
    for each in sequences:
        scheduler.add(each)
    while not all(each.num_completion_tokens for each in sequences):
        step(scheduler, runner)
    for each in sequences:
        scheduler.finish(each)


def test_a_prompt_beside_a_decoding_sequence_is_prefilled_in_short_chunks() -> None:
    scheduler, runner = new_scheduler(2, 4096, 512), FakeRunner(4096, 512)
    scheduler.add(sequence([1]))
    step(scheduler, runner)
    scheduler.add(sequence([2] * 1000))
    assert counts(step(scheduler, runner)) == [1, 128]


def test_prompts_of_a_batch_fill_what_its_decoding_rows_leave_of_the_budget() -> None:
    scheduler, runner = new_scheduler(2, 4096, 512), FakeRunner(4096, 512)
    scheduler.add(sequence([1], priority="batch"))
    step(scheduler, runner)
    scheduler.add(sequence([2] * 1000, priority="batch"))
    assert counts(step(scheduler, runner)) == [1, 511]


def test_a_lone_prompt_fills_the_token_budget() -> None:
    scheduler = new_scheduler(2, 4096, 512)
    scheduler.add(sequence([2] * 1000))
    assert counts(scheduler.schedule()) == [512]


def test_a_prefix_that_two_prompts_share_is_computed_once() -> None:
    scheduler, runner = new_scheduler(3, 256, 256), FakeRunner(256, 256)
    leave(scheduler, runner, sequence([1] * 50))
    second, third = sequence([1] * 20 + [2] * 5), sequence([1] * 50 + [3] * 5)
    scheduler.add(second)
    scheduler.add(third)
    batch = step(scheduler, runner)
    assert batch.edits == [Copy(0, 1, 20)]
    assert counts(batch) == [5, 5]
    assert (second.num_cached_tokens, third.num_cached_tokens) == (20, 50)


@pytest.mark.parametrize("priority", ["interactive", "batch"])
def test_64_equal_prefixes_that_arrive_in_the_same_instant_are_computed_once(
    priority: Priority,
) -> None:
    scheduler, runner = new_scheduler(16, 4096, 512), FakeRunner(4096, 512)
    shared = [1] * 360
    jobs = [sequence([*shared, 2 + i, *[3] * 24], priority=priority) for i in range(64)]
    for each in jobs:
        scheduler.add(each)
    while scheduler.has_work:
        step(scheduler, runner)
        for each in list(scheduler.running):
            if each.num_completion_tokens == 4:
                scheduler.finish(each)
    assert runner.num_computed == 360 + 64 * (25 + 3)
    assert [each.num_cached_tokens for each in jobs] == [0] + [360] * 63
    for each in jobs:
        assert each.tokens[385:] == undisturbed(each.tokens[:385], 4)


def test_who_waits_for_a_prefix_computes_it_when_the_other_gives_up() -> None:
    scheduler, runner = new_scheduler(4, 512, 16), FakeRunner(512, 16)
    first, second = sequence([1] * 100), sequence([1] * 90 + [2])
    scheduler.add(first)
    scheduler.add(second)
    step(scheduler, runner)
    assert list(scheduler.waiting) == [second]
    scheduler.finish(first)
    step(scheduler, runner)
    assert scheduler.running == [second]
    assert second.num_cached_tokens == 16


def test_an_interactive_request_does_not_wait_for_the_prefix_of_a_batch() -> None:
    scheduler, runner = new_scheduler(4, 512, 16), FakeRunner(512, 16)
    scheduler.add(sequence([1] * 100, priority="batch"))
    step(scheduler, runner)
    urgent = sequence([1] * 90 + [2])
    scheduler.add(urgent)
    step(scheduler, runner)
    assert urgent in scheduler.running
    assert urgent.num_cached_tokens == 16


def test_completions_of_one_prompt_share_its_cells() -> None:
    scheduler, runner = new_scheduler(4, 120, 120), FakeRunner(120, 120)
    several = [sequence([1] * 100) for _ in range(4)]
    for each in several:
        scheduler.add(each)
    while scheduler.waiting and len(scheduler.running) < 4:
        step(scheduler, runner)
    assert len(scheduler.running) == 4
    assert runner.memory.num_used < 120


def test_texts_to_score_compute_their_prompt_once() -> None:
    scheduler, runner = new_scheduler(8, 512, 512), FakeRunner(512, 512)
    prompt = [1] * 100
    texts = [sequence([*prompt, 2 + i], targets=(2 + i, 9)) for i in range(5)]
    for each in texts:
        scheduler.add(each)
    while scheduler.has_work:
        step(scheduler, runner)
        for each in list(scheduler.running):
            if each.num_remaining_tokens == 0:
                scheduler.finish(each)
    assert runner.num_computed == 101 + 4 * 2  # the prompt's last token is needed for its logits


def test_an_interactive_prompt_runs_alone_beside_a_batch() -> None:
    scheduler, runner = new_scheduler(18, 4096, 512, num_spare=2), FakeRunner(4096, 512)
    for number in range(16):
        scheduler.add(sequence([number, 7], priority="batch"))
    step(scheduler, runner)
    urgent = sequence([99] * 600)
    scheduler.add(urgent)
    assert [[c.sequence for c in step(scheduler, runner).chunks] for _ in range(2)] == [
        [urgent],
        [urgent],
    ]
    assert urgent.num_completion_tokens == 1


def test_a_batch_gets_half_of_the_time_while_an_interactive_reply_is_decoded() -> None:
    scheduler, runner = new_scheduler(18, 8192, 512, num_spare=2), FakeRunner(8192, 512)
    batch = [sequence([number, 7], priority="batch") for number in range(16)]
    for each in batch:
        scheduler.add(each)
    step(scheduler, runner)
    reply = sequence([99])
    scheduler.add(reply)
    step(scheduler, runner)
    rows = [len(step(scheduler, runner).chunks) for _ in range(160)]
    assert reply.num_completion_tokens == 161, "the reply grows in every step"
    assert set(rows) == {1, 17}
    # 16 rows beside one take some 7 to 8 times as long as it alone.
    assert rows.count(17) == 20


def test_a_long_prompt_of_a_batch_goes_on_beside_an_interactive_reply() -> None:
    scheduler, runner = new_scheduler(4, 8192, 512, num_spare=2), FakeRunner(8192, 512)
    prompt = sequence([7] * 2000, priority="batch")
    scheduler.add(prompt)
    step(scheduler, runner)
    reply = sequence([99])
    scheduler.add(reply)
    step(scheduler, runner)
    for _ in range(100):
        assert step(scheduler, runner).num_tokens <= 129
    assert 150 <= prompt.num_computed_tokens - 512 <= 200
    assert reply.num_completion_tokens == 101


def test_batches_leave_spare_slots_to_interactive_requests() -> None:
    scheduler, runner = new_scheduler(3, 256, 256, num_spare=2), FakeRunner(256, 256)
    batch = [sequence([number], priority="batch") for number in range(3)]
    for each in batch:
        scheduler.add(each)
    step(scheduler, runner)
    assert scheduler.running == batch[:1]
    chats = [sequence([number]) for number in range(7, 10)]
    for each in chats:
        scheduler.add(each)
    step(scheduler, runner)
    assert scheduler.running == [batch[0], *chats[:2]]


def test_an_interactive_request_takes_the_cells_of_a_batch() -> None:
    scheduler, runner = new_scheduler(4, 40, 40, num_spare=1), FakeRunner(40, 40)
    batch = [sequence([number] * 12, priority="batch") for number in range(3)]
    for each in batch:
        scheduler.add(each)
    step(scheduler, runner)
    urgent = sequence([9] * 20)
    scheduler.add(urgent)
    while not urgent.num_completion_tokens:
        assert scheduler.has_work
        step(scheduler, runner)
    assert scheduler.running == [batch[0], urgent]
    assert list(scheduler.waiting) == batch[1:], "the newest gave up its cells first"


@pytest.mark.parametrize("conversation", [None, "chat"])
def test_a_conversation_is_saved_before_its_slot_is_emptied(conversation: str | None) -> None:
    scheduler, runner = new_scheduler(1, 1024, 512), FakeRunner(1024, 512)
    told = sequence([1] * 300, conversation=conversation)
    leave(scheduler, runner, told)
    scheduler.add(sequence([2]))
    saves = [edit for edit in step(scheduler, runner).edits if isinstance(edit, Save)]
    expected = [Save(0, [1] * 300, conversation="chat")] if conversation else []
    assert saves == expected


def test_a_short_conversation_is_not_worth_a_snapshot() -> None:
    scheduler, runner = new_scheduler(1, 1024, 512), FakeRunner(1024, 512)
    leave(scheduler, runner, sequence([1] * 255, conversation="chat"))
    scheduler.add(sequence([2]))
    assert step(scheduler, runner).edits == [Cut(0, 0)]


def test_a_conversation_is_saved_before_another_goes_on_from_its_beginning() -> None:
    scheduler, runner = new_scheduler(1, 1024, 512), FakeRunner(1024, 512)
    leave(scheduler, runner, sequence([1] * 300, conversation="chat"))
    leave(scheduler, runner, sequence([1] * 290 + [2] * 9, conversation="chat"))
    assert runner.kept_states == [], "the same one just took another turn"
    scheduler.add(sequence([1] * 290 + [3], conversation="other"))
    edits = step(scheduler, runner).edits
    assert [type(edit) for edit in edits] == [Save, Cut]


def test_a_much_used_prefix_is_saved_and_replaces_no_conversation() -> None:
    scheduler, runner = new_scheduler(5, 4096, 512), FakeRunner(4096, 512)
    leave(scheduler, runner, sequence([1] * 300 + [2] * 400))
    leave(scheduler, runner, *(sequence([1] * 300 + [number]) for number in range(3, 6)))
    scheduler.add(sequence([9] * 4000))
    step(scheduler, runner)
    while runner.memory.num_used < 3800:
        step(scheduler, runner)
    assert runner.kept_states == [Save(0, [1] * 300 + [2] * 400, conversation=None)]


def test_a_saved_state_is_restored_where_it_holds_much_more_of_the_prompt() -> None:
    states = FakeStates([[1] * 100 + [8]], is_whole=False)
    scheduler, runner = new_scheduler(2, 256, 256, states=states), FakeRunner(256, 256)
    goes_on = sequence([1] * 100 + [2] * 3)
    scheduler.add(goes_on)
    batch = step(scheduler, runner)
    assert [type(edit) for edit in batch.edits] == [Restore, Cut]
    assert counts(batch) == [3]
    assert goes_on.num_cached_tokens == 100


@pytest.mark.parametrize(("length", "is_restored"), [(64, False), (65, True)])
def test_a_short_state_is_not_worth_reading(length: int, is_restored: bool) -> None:
    states = FakeStates([[1] * length], is_whole=False)
    scheduler, runner = new_scheduler(2, 256, 256, states=states), FakeRunner(256, 256)
    scheduler.add(sequence([1] * 100))
    assert bool(step(scheduler, runner).edits) == is_restored


def test_a_state_that_has_no_room_beside_the_others_is_not_restored() -> None:
    states = FakeStates([[1] * 90 + [8] * 30], is_whole=False)
    scheduler, runner = new_scheduler(2, 128, 64, states=states), FakeRunner(128, 64)
    scheduler.add(sequence([2] * 20))
    step(scheduler, runner)
    scheduler.add(sequence([1] * 95))
    assert step(scheduler, runner).edits == []
    assert len(scheduler.running) == 2


def test_memory_that_cannot_be_cut_goes_back_to_a_checkpoint() -> None:
    states = FakeStates(is_whole=True)
    scheduler = new_scheduler(2, 512, 512, can_cut=False, states=states)
    runner = FakeRunner(512, 512, can_cut=False)
    first = sequence([1] * 100 + [2] * 50, checkpoints=(100, 149))
    scheduler.add(first)
    assert counts(step(scheduler, runner)) == [100], "a chunk ends at a checkpoint"
    states.checkpoint([1] * 100, runner.save(0))
    other = sequence([1] * 100 + [3] * 20, checkpoints=(100, 119))
    scheduler.add(other)
    batch = step(scheduler, runner)
    assert batch.edits == [Copy(0, 1, 100)], "the state is just at the checkpoint"
    assert other.num_cached_tokens == 100
    step(scheduler, runner)
    scheduler.finish(first)
    third = sequence([1] * 100 + [4] * 20)
    scheduler.add(third)
    assert Restore in map(type, step(scheduler, runner).edits)
    assert third.num_cached_tokens == 100


@pytest.mark.parametrize(
    ("can_cut", "num_aborted", "is_kept"), [(True, 2, True), (False, 1, True), (False, 2, False)]
)
def test_an_aborted_batch_costs_others_only_what_it_may_have_moved(
    can_cut: bool, num_aborted: int, is_kept: bool
) -> None:
    scheduler = new_scheduler(4, 512, 512, can_cut=can_cut)
    runner = FakeRunner(512, 512, can_cut=can_cut)
    leave(scheduler, runner, sequence([1] * 40))
    for number in range(num_aborted):
        scheduler.add(sequence([2 + number] * 40))
    batch = scheduler.schedule()
    runner.abort()
    with pytest.raises(Aborted):
        runner.run(batch)
    scheduler.roll_back(runner.keep)
    check_books(scheduler, runner.memory)
    assert len(batch.chunks) == num_aborted
    assert [slot for slot, held in runner.memory.slots.items() if held] == [0] * is_kept


def test_cells_that_were_shared_with_an_aborted_sequence_are_an_idle_slots_alone() -> None:
    scheduler, runner = new_scheduler(2, 64, 64, can_cut=False), FakeRunner(64, 64, can_cut=False)
    first = sequence([1] * 10)
    scheduler.add(first)
    step(scheduler, runner)
    scheduler.add(sequence([1] * 12))
    assert step(scheduler, runner).edits == [Copy(0, 1, 10)]
    scheduler.finish(first)
    assert scheduler.slots.num_idle_cells == 1
    batch = scheduler.schedule()
    runner.abort()
    with pytest.raises(Aborted):
        runner.run(batch)
    scheduler.roll_back(runner.keep)
    check_books(scheduler, runner.memory)
    assert scheduler.slots.num_idle_cells == 11


def test_two_prompts_at_once_wait_for_a_checkpoint_they_share() -> None:
    scheduler = new_scheduler(3, 512, 64, can_cut=False)
    runner = FakeRunner(512, 64, can_cut=False)
    both = [sequence([1] * 100 + [number], checkpoints=(100,)) for number in (2, 3)]
    for each in both:
        scheduler.add(each)
    while not all(each.num_completion_tokens for each in both):
        step(scheduler, runner)
    assert both[1].num_cached_tokens == 100


def test_a_restored_window_is_not_cut_but_left_to_those_that_go_on_from_it() -> None:
    states = FakeStates([[1] * 100], is_whole=True)
    runner = FakeRunner(512, 512, has_window=True)
    scheduler = new_scheduler(2, 512, 512, states=states, floor=runner.memory.floor)
    leave(scheduler, runner, sequence([1] * 100 + [2] * 5))
    shorter = sequence([1] * 90 + [3] * 5)
    leave(scheduler, runner, shorter)
    assert shorter.num_cached_tokens == 0
    longer = sequence([1] * 100 + [2] * 3 + [4])
    leave(scheduler, runner, longer)
    assert longer.num_cached_tokens == 103


def windowed(saved: list[list[int]]) -> tuple[Scheduler, FakeRunner]:
    """A model with sliding windows; slot 0 is idle and holds 100 ones and 150 nines."""
    runner = FakeRunner(4096, 512, has_window=True)
    states = FakeStates(saved, is_whole=True)
    scheduler = new_scheduler(4, 4096, 512, states=states, floor=runner.memory.floor)
    leave(scheduler, runner, sequence([1] * 100 + [9] * 150))
    return scheduler, runner


@pytest.mark.parametrize(("length", "cached"), [(59, 0), (60, 60)])
def test_what_a_window_has_lost_is_not_copied_from_a_running_sequence(
    length: int, cached: int
) -> None:
    scheduler, runner = windowed([])
    scheduler.add(sequence([5] * 200))
    step(scheduler, runner)
    runner.memory.lose(scheduler.running[0].slot or 0, 60)
    shorter = sequence([5] * length + [6])
    scheduler.add(shorter)
    step(scheduler, runner)
    assert shorter.num_cached_tokens == cached


def test_a_copy_has_lost_what_the_original_had() -> None:
    scheduler, runner = windowed([])
    runner.memory.lose(0, 60)
    both = sequence([1] * 100 + [2]), sequence([1] * 50 + [3])
    for each in both:
        scheduler.add(each)
    step(scheduler, runner)
    assert [each.num_cached_tokens for each in both] == [100, 0]


def test_nothing_is_copied_after_a_state_has_taken_the_cells_that_windows_left() -> None:
    scheduler, runner = windowed([[7] * 100])
    both = sequence([7] * 100 + [8]), sequence([1] * 80 + [2])
    for each in both:
        scheduler.add(each)
    step(scheduler, runner)
    assert scheduler.running == [both[0]]
    step(scheduler, runner)
    assert [each.num_cached_tokens for each in both] == [100, 0]


def test_idle_slots_hold_a_quarter_of_the_cells_at_most_and_nothing_unwanted() -> None:
    scheduler, runner = new_scheduler(4, 40, 40), FakeRunner(40, 40)
    done = [sequence([1] * 6), sequence([2] * 6, reuse=False), sequence([3] * 6)]
    leave(scheduler, runner, *done)
    scheduler.add(sequence([4]))
    assert step(scheduler, runner).edits == [Cut(1, 0), Cut(0, 0)]
    assert scheduler.slots.num_idle_cells == 6


def test_a_prefix_is_copied_over_an_older_conversation() -> None:
    scheduler, runner = new_scheduler(2, 64, 64), FakeRunner(64, 64)
    leave(scheduler, runner, sequence([1] * 9), sequence([2] * 9))
    scheduler.add(sequence([2] * 3 + [3]))
    assert step(scheduler, runner).edits == [Cut(0, 0), Copy(1, 0, 3)]


def test_a_prompt_waits_until_its_cells_are_free() -> None:
    scheduler, runner = new_scheduler(2, 12, 12), FakeRunner(12, 12)
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
    scheduler, runner = new_scheduler(2, 20, 20), FakeRunner(20, 20)
    second = sequence([2] * 10)
    leave(scheduler, runner, sequence([1] * 10))
    scheduler.add(second)
    step(scheduler, runner)
    assert Cut(0, 0) in step(scheduler, runner).edits
    assert second in scheduler.running


def test_the_newest_sequence_waits_when_the_cells_run_out() -> None:
    scheduler, runner = new_scheduler(2, 12, 12), FakeRunner(12, 12)
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


class Prophet:
    """Guesses right, as many as it may."""

    def propose(self, sequence: Sequence, most: int) -> tuple[int, ...]:
        return tuple(undisturbed(sequence.tokens, min(most, 4)))


def test_right_guesses_make_several_tokens_a_step() -> None:
    scheduler, runner = new_scheduler(2, 64, 64, drafter=Prophet()), FakeRunner(64, 64)
    lone = sequence([1])
    scheduler.add(lone)
    step(scheduler, runner)
    step(scheduler, runner)
    assert lone.tokens[1:] == undisturbed([1], 6)
    assert lone.is_decoding


def test_guesses_are_made_for_a_lone_sequence_that_wants_them() -> None:
    scheduler, runner = new_scheduler(3, 64, 64, drafter=Prophet()), FakeRunner(64, 64)
    plain = sequence([1], speculate=False)
    scheduler.add(plain)
    step(scheduler, runner)
    assert step(scheduler, runner).num_tokens == 1
    scheduler.add(sequence([2]))
    step(scheduler, runner)
    assert step(scheduler, runner).num_tokens == 2


def test_guesses_take_no_more_cells_than_are_free() -> None:
    scheduler, runner = new_scheduler(1, 8, 64, drafter=Prophet()), FakeRunner(8, 64)
    lone = sequence([1] * 5)
    scheduler.add(lone)
    step(scheduler, runner)
    assert step(scheduler, runner).num_tokens == 3
    assert lone.tokens[5:] == undisturbed([1] * 5, 4)


def test_a_finished_sequence_can_be_finished_again_without_harm() -> None:
    scheduler = new_scheduler(1, 8, 8)
    done = sequence([1])
    scheduler.add(done)
    scheduler.schedule()
    scheduler.finish(done)
    scheduler.finish(done)
    assert not scheduler.has_work


def test_a_sequence_longer_than_the_kv_cache_is_our_bug() -> None:
    scheduler = new_scheduler(1, 8, 8)
    with pytest.raises(AssertionError):
        scheduler.add(sequence([1] * 9))
