"""Several sequences of one request: completions of a prompt, and texts to score after it."""

from __future__ import annotations

import pytest

from localchat.engine.scheduler import Scheduler
from localchat.engine.sequence import Sequence
from localchat.types import GenerationRequest, Priority, SamplingParams
from tests.engine.fakes import FakeRunner, check_books, checksum_score
from tests.engine.test_scheduler import counts, new_scheduler, step

SHARED = [1] * 100
OWN = 20  # fewer tokens than are worth waiting for where they are another request's


def texts(
    name: int, *labels: tuple[int, ...], priority: Priority = "batch", reuse: bool = True
) -> list[Sequence]:
    """A request to score labels after a prompt of which `SHARED` is not its own."""
    request = GenerationRequest(
        f"r{name}",
        prompt="",
        continuations=tuple(str(label) for label in labels),
        priority=priority,
        reuse_cache=reuse,
    )
    prompt = [*SHARED, 10 + name, *[2] * (OWN - 1)]
    first, *others = labels
    alternatives = tuple((number, label[0]) for number, label in enumerate(others, 1))
    return [
        Sequence(request, [*prompt, *first[:-1]], 0, 0.0, targets=first, alternatives=alternatives),
        *(
            Sequence(request, [*prompt, *label[:-1]], 0, 0.0, number, targets=label[1:])
            for number, label in enumerate(others, 1)
            if len(label) > 1
        ),
    ]


def score(scheduler: Scheduler, runner: FakeRunner, *requests: list[Sequence]) -> list[list[int]]:
    """Runs all of them; the rows of each step's chunks. Each score has to be right."""
    for sequence in (each for request in requests for each in request):
        scheduler.add(sequence)
    steps = []
    while scheduler.has_work:
        batch = scheduler.schedule()
        outputs = runner.run(batch)
        steps.append(counts(batch))
        for sequence, output in scheduler.postprocess(batch, outputs):
            if sequence.num_remaining_tokens == 0:
                first = sequence.num_reusable_tokens
                firsts = [sequence.targets[0], *(token for _, token in sequence.alternatives)]
                told = [found.logprob for found in output.scores]
                assert told == [
                    *(checksum_score(sequence.tokens[: first + 1], token) for token in firsts),
                    *(
                        checksum_score(sequence.tokens[: first + 1 + at], target)
                        for at, target in enumerate(sequence.targets[1:], 1)
                    ),
                ]
                scheduler.finish(sequence)
        check_books(scheduler, runner.memory)
    return steps


def test_labels_of_rows_that_share_their_beginning_compute_each_prompt_once() -> None:
    scheduler, runner = new_scheduler(6, 1024, 512, num_spare=2), FakeRunner(1024, 512)
    labels = (5, 6), (6, 7, 8), (8,), (9, 5)
    steps = score(scheduler, runner, *[texts(name, *labels) for name in range(8)])
    assert runner.num_computed == len(SHARED) + 8 * (OWN + 1 + 2 + 0 + 1)
    assert max(map(len, steps)) == 4, "a row takes one slot"
    assert sum(rows >= OWN for rows in steps[1]) == 3, "and others' prompts are read beside it"


def test_labels_that_somebody_waits_for_are_scored_together() -> None:
    scheduler, runner = new_scheduler(8, 1024, 512, num_spare=2), FakeRunner(1024, 512)
    labels = tuple((5, number) for number in range(4))
    steps = score(scheduler, runner, texts(0, *labels, priority="interactive"))
    assert steps == [[len(SHARED) + OWN + 1], [1, 1, 1]]


def test_a_row_does_not_wait_for_labels_that_may_not_share() -> None:
    scheduler, runner = new_scheduler(6, 1024, 512), FakeRunner(1024, 512)
    steps = score(scheduler, runner, texts(0, (5,), (6, 7), reuse=False))
    assert steps == [[len(SHARED) + OWN, len(SHARED) + OWN + 1]]


def test_labels_of_one_token_cost_no_more_than_their_prompt() -> None:
    scheduler, runner = new_scheduler(6, 1024, 512, num_spare=2), FakeRunner(1024, 512)
    labels = (5,), (6,), (7,), (8,)
    steps = score(scheduler, runner, *[texts(name, *labels) for name in range(4)])
    assert steps == [[len(SHARED) + OWN], [OWN] * 3]


@pytest.mark.parametrize("priority", ["interactive", "batch"])
def test_completions_compute_a_short_prompt_once(priority: Priority) -> None:
    scheduler, runner = new_scheduler(6, 1024, 512), FakeRunner(1024, 512)
    request = GenerationRequest("r", prompt="", params=SamplingParams(n=4), priority=priority)
    several = [Sequence(request, [1] * OWN, 0, 0.0, choice) for choice in range(4)]
    for each in several:
        scheduler.add(each)
    assert counts(step(scheduler, runner)) == [OWN]
    assert counts(step(scheduler, runner)) == [1] * 4
    assert [each.num_cached_tokens for each in several] == [0, *[OWN - 1] * 3]


def test_the_one_that_reads_the_prompt_may_give_up() -> None:
    scheduler, runner = new_scheduler(6, 1024, 512, num_spare=2), FakeRunner(1024, 512)
    first, second = texts(0, (5,), (6, 7))
    scheduler.add(first)
    scheduler.add(second)
    scheduler.schedule()
    assert scheduler.running == [first]
    scheduler.finish(first, keep=False)
    assert score(scheduler, runner) == [[len(SHARED) + OWN + 1]]


def test_very_many_texts_and_a_row_behind_them_are_all_scored() -> None:
    scheduler, runner = new_scheduler(6, 1024, 512, num_spare=2), FakeRunner(1024, 512)
    many = texts(0, *[(number, 5) for number in range(300)])
    score(scheduler, runner, many, texts(1, (5,)))
    assert runner.num_computed == len(SHARED) + 2 * OWN + 300
