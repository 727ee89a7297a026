from __future__ import annotations

import pytest

from localchat.events import PrefillProgress, ReasoningDelta, TextDelta
from localchat.tui.chats.live import Live


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def text(words: str, tokens: int = 1) -> TextDelta:
    return TextDelta("", words, tokens=tokens)


def test_what_comes_is_added_to_what_was_there() -> None:
    live = Live(7, "Once ", "Hm.")
    live.take(ReasoningDelta("", " So.", tokens=1))
    live.take(text("upon", 2))
    live.take(text(" a time", 3))
    assert (live.reply, live.content, live.reasoning) == (7, "Once upon a time", "Hm. So.")
    assert live.tokens == 6


def test_the_rate_is_that_of_the_last_three_seconds() -> None:
    clock = Clock()
    live = Live(1, clock=clock)
    assert live.tokens_per_second is None
    live.take(text("a", 4))
    assert live.tokens_per_second is None  # how long these took is not known
    clock.now += 2
    live.take(text("b", 10))
    assert live.tokens_per_second == 5
    clock.now += 2
    live.take(ReasoningDelta("", "c", tokens=40))
    assert live.tokens_per_second == 20  # the first four seconds ago are forgotten
    clock.now += 60
    live.take(text("d"))
    assert live.tokens_per_second is None


def test_there_is_no_rate_of_what_came_at_the_same_instant() -> None:
    live = Live(1, clock=Clock())
    live.take(text("a"))
    live.take(text("b"))
    assert live.tokens_per_second is None


def test_time_left_follows_from_what_was_read_since_it_is_looked_at() -> None:
    clock = Clock()
    live = Live(1, clock=clock)
    assert (live.prefill, live.time_left) == (None, None)
    live.take(PrefillProgress("", 500, 2000))  # 500 are another turn's
    assert (live.prefill, live.time_left) == ((500, 2000), None)
    clock.now += 2
    live.take(PrefillProgress("", 1000, 2000))
    assert live.time_left == pytest.approx(4)
    clock.now += 1
    assert live.time_left == pytest.approx(6)  # it is slower than it was
    live.take(text("a"))
    assert (live.prefill, live.time_left, live.prompt_tokens) == (None, None, 2000)


@pytest.mark.parametrize("between", [[], [text("a")]], ids=["of-a-summary", "taken-up-again"])
def test_a_prompt_that_is_read_anew_has_a_time_of_its_own(between: list[TextDelta]) -> None:
    clock = Clock()
    live = Live(1, clock=clock)
    live.take(PrefillProgress("", 0, 4000))
    clock.now += 100
    live.take(PrefillProgress("", 4000, 4000))
    for event in between:
        live.take(event)
    live.take(PrefillProgress("", 1000, 3000))
    assert live.time_left is None
    clock.now += 1
    live.take(PrefillProgress("", 2000, 3000))
    assert live.time_left == pytest.approx(1)
