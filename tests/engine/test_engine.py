from __future__ import annotations

from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.engine.chat_template import ChatTemplate
from localchat.engine.engine import Engine
from localchat.engine.prompt import PromptBuilder
from localchat.engine.scheduler import ScheduledBatch, Scheduler
from localchat.engine.slots import SlotTable
from localchat.errors import ContextOverflow, EngineFailed, TemplateFailed
from localchat.events import (
    LAST_EVENTS,
    Event,
    Failed,
    Finished,
    PrefillProgress,
    Rendered,
    TextDelta,
)
from localchat.types import GenerationRequest, Message, SamplingParams
from tests.engine.fakes import ByteVocabulary, FakeRunner, Replies

CONTEXT = 64


class Bench:
    """An engine whose model gives fixed replies, and what it has said so far."""

    def __init__(
        self,
        replies: dict[str, bytes],
        *,
        context: int = CONTEXT,
        budget: int = 16,
        num_slots: int = 4,
        template: str | None = None,
    ) -> None:
        vocabulary = ByteVocabulary()
        self.runner = FakeRunner(context, budget, next_token=Replies(replies))
        slots = SlotTable(num_slots, can_cut=True)
        self.engine = Engine(
            Scheduler(slots, num_cells=context, token_budget=budget),
            self.runner,
            PromptBuilder(vocabulary, ChatTemplate(template, bos="", eos="") if template else None),
            vocabulary,
            context=context,
        )
        self.events: list[Event] = []

    def submit(
        self, prompt: str, name: str = "r", *, max_tokens: int | None = None, stop: str = ""
    ) -> None:
        params = SamplingParams(max_tokens=max_tokens, stop=(stop,))
        assert self.engine.submit(GenerationRequest(name, prompt=prompt, params=params)) is None

    def step(self) -> None:
        self.events += self.engine.step()

    def run(self) -> Bench:
        for _ in range(1000):
            if not self.engine.has_work:
                return self
            self.step()
        raise AssertionError("the engine never comes to rest")

    def of(self, name: str = "r") -> list[Event]:
        return [event for event in self.events if event.request_id == name]

    def text(self, name: str = "r") -> str:
        return "".join(event.text for event in self.of(name) if isinstance(event, TextDelta))

    def end(self, name: str = "r") -> Finished:
        last = self.of(name)[-1]
        assert isinstance(last, Finished)
        return last


def check_contract(events: list[Event]) -> None:
    """What `localchat.events` promises of one request."""
    phases = [
        0 if isinstance(event, PrefillProgress) else 1 if isinstance(event, TextDelta) else 2
        for event in events
    ]
    assert phases == sorted(phases)
    assert phases.count(2) == 1


def test_a_reply_is_progress_then_text_then_one_last_event() -> None:
    bench = Bench({"hello": b"hi"})
    bench.submit("hello")
    *said, end = bench.run().events
    assert said == [PrefillProgress("r", 5, 5), TextDelta("r", "h"), TextDelta("r", "i")]
    assert isinstance(end, Finished)
    assert end.finish_reason == "stop"
    assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (5, 3)


def test_each_step_of_a_long_prompt_reports_progress() -> None:
    bench = Bench({"p" * 40: b""})
    bench.submit("p" * 40)
    done = [event.done for event in bench.run().events if isinstance(event, PrefillProgress)]
    assert done == [16, 32, 40]


def test_requests_run_together_and_keep_their_texts_apart() -> None:
    bench = Bench({"one": b"first", "two": b"second"})
    bench.submit("one", "1")
    bench.submit("two", "2")
    bench.run()
    assert (bench.text("1"), bench.text("2")) == ("first", "second")
    check_contract(bench.of("1"))
    check_contract(bench.of("2"))


def test_a_request_of_its_own_seed_reports_it_and_others_one_that_was_drawn() -> None:
    bench = Bench({"a": b"", "b": b""})
    bench.engine.submit(GenerationRequest("s", prompt="a", params=SamplingParams(seed=7)))
    bench.submit("b")
    bench.run()
    assert bench.end("s").seed == 7
    assert 0 <= bench.end("r").seed < 2**32


def test_the_next_turn_reports_the_tokens_it_found_in_the_cache() -> None:
    bench = Bench({"one": b"two", "onetwo, three": b""})
    bench.submit("one")
    bench.run().submit("onetwo, three", "next")
    assert bench.run().end("next").usage.cached_tokens == len("onetwo")


@pytest.mark.parametrize(("limit", "text"), [(1, "t"), (3, "thr"), (5, "three")])
def test_max_tokens_ends_a_reply(limit: int, text: str) -> None:
    bench = Bench({"p": b"three"})
    bench.submit("p", max_tokens=limit)
    bench.run()
    assert bench.text() == text
    assert bench.end().finish_reason == "length"
    assert bench.end().usage.completion_tokens == limit


def test_a_full_context_ends_a_reply() -> None:
    bench = Bench({"p" * 60: b"x" * 100})
    bench.submit("p" * 60)
    assert bench.run().end().finish_reason == "length"
    assert bench.text() == "x" * (CONTEXT - 60)


def test_a_stop_string_ends_a_reply_and_is_not_part_of_it() -> None:
    bench = Bench({"p": b"one\n\ntwo"})
    bench.submit("p", stop="\n\n")
    bench.run()
    assert bench.text() == "one"
    assert bench.end().finish_reason == "stop"


@pytest.mark.parametrize("limit", [None, 5])
def test_text_held_back_for_a_stop_string_comes_out_at_the_end(limit: int | None) -> None:
    bench = Bench({"p": b"one\n\ntwo"[:5] if limit else b"one\n\n"})
    bench.submit("p", max_tokens=limit, stop="\n\n\n")
    assert bench.run().text() == "one\n\n"
    check_contract(bench.events)


def test_half_a_character_at_the_end_becomes_a_replacement_character() -> None:
    bench = Bench({"p": "aé".encode()})
    bench.submit("p", max_tokens=2)
    assert bench.run().text() == "a\N{REPLACEMENT CHARACTER}"


def test_a_waiting_request_can_be_cancelled() -> None:
    bench = Bench({"a": b"first", "b": b"second"}, num_slots=1)
    bench.submit("a", "1")
    bench.submit("b", "2")
    bench.step()
    bench.engine.cancel("2")
    bench.run()
    assert [type(event) for event in bench.of("2")] == [Finished]
    assert bench.end("2").finish_reason == "cancelled"
    assert bench.text("1") == "first"


def test_a_request_can_be_cancelled_before_the_first_step() -> None:
    bench = Bench({"p": b"reply"})
    bench.submit("p")
    bench.engine.cancel("r")
    assert bench.run().end().finish_reason == "cancelled"
    assert bench.runner.num_runs == 0


def test_a_prompt_can_be_cancelled_half_way() -> None:
    bench = Bench({"p" * 60: b"reply"})
    bench.submit("p" * 60)
    bench.step()
    bench.engine.cancel("r")
    assert bench.run().end().finish_reason == "cancelled"
    assert bench.runner.num_runs == 1
    bench.submit("p" * 60, "again")
    bench.run()
    assert bench.text("again") == "repl"
    assert bench.end("again").usage.cached_tokens == 16


def test_a_reply_can_be_cancelled_and_keeps_its_text() -> None:
    bench = Bench({"p": b"long reply"})
    bench.submit("p")
    for _ in range(4):
        bench.step()
    bench.engine.cancel("r")
    assert bench.run().end().finish_reason == "cancelled"
    assert bench.text() == "long"
    assert bench.engine.num_requests == 0
    assert len(bench.runner.released) == 1


def test_cancelling_an_unknown_or_finished_request_does_nothing() -> None:
    bench = Bench({"p": b"reply"})
    bench.engine.cancel("nobody")
    assert bench.run().events == []
    bench.submit("p")
    bench.run()
    said = list(bench.events)
    bench.engine.cancel("r")
    assert bench.run().events == said


def test_a_cancelled_request_stops_the_batch_in_flight_and_the_others_go_on() -> None:
    bench = Bench({"a" * 8: b"first", "b" * 8: b"second"})
    bench.submit("a" * 8, "1")
    bench.submit("b" * 8, "2")

    def cancel_once(batch: ScheduledBatch) -> None:
        bench.engine.cancel("2")
        bench.runner.before_run = lambda batch: None

    bench.runner.before_run, bench.runner.partly_done = cancel_once, 11
    bench.step()
    assert bench.events == []
    bench.run()
    assert bench.end("2").finish_reason == "cancelled"
    assert (bench.text("1"), bench.end("1").finish_reason) == ("first", "stop")


def test_cancelling_a_waiting_request_leaves_the_batch_in_flight_alone() -> None:
    bench = Bench({"a": b"first", "b": b"second"}, num_slots=1)
    bench.submit("a", "1")
    bench.submit("b", "2")
    bench.runner.before_run = lambda batch: bench.engine.cancel("2")
    bench.step()
    assert bench.text("1") == "f"


def test_a_request_cancelled_while_its_batch_is_chosen_does_not_run(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench({"p": b"reply"})
    bench.submit("p")
    monkeypatch.setattr(bench.runner, "clear_abort", lambda: bench.engine.cancel("r"))
    bench.step()
    assert bench.runner.aborted
    monkeypatch.undo()
    assert bench.run().end().finish_reason == "cancelled"


def test_a_request_that_comes_and_is_cancelled_while_a_step_begins_is_cancelled() -> None:
    bench = Bench({"a": b"first", "b": b"second"})
    bench.submit("a", "1")

    class Inbox(deque[object]):
        """Another thread submits and cancels just after the engine has found nothing more."""

        arrives: Callable[[], None] | None = None

        def __bool__(self) -> bool:
            empty, arrives = not len(self), self.arrives
            if empty and arrives:
                self.arrives = None
                arrives()
            return not empty

    def arrive() -> None:
        bench.submit("b", "2")
        bench.engine.cancel("2")

    inbox = Inbox(bench.engine._inbox)
    inbox.arrives = arrive
    bench.engine._inbox = inbox  # type: ignore[assignment]
    bench.step()
    assert bench.run().end("2").finish_reason == "cancelled"


def test_a_failed_batch_fails_its_requests_and_the_others_go_on() -> None:
    bench = Bench({"a": b"first", "b": b"second"}, num_slots=1)
    bench.submit("a", "1")
    bench.submit("b", "2")

    def fail(batch: ScheduledBatch) -> None:
        bench.runner.before_run = lambda batch: None
        raise EngineFailed("It broke.", "Try again.")

    bench.step()
    bench.runner.before_run = fail
    bench.run()
    assert bench.of("1")[-1] == Failed("1", "EngineFailed", "It broke.", "Try again.")
    assert (bench.text("2"), bench.end("2").finish_reason) == ("second", "stop")
    check_contract(bench.of("1"))


def test_memory_of_a_failed_request_is_never_reused() -> None:
    bench = Bench({"prompt": b"reply"})

    def fail(batch: ScheduledBatch) -> None:
        bench.runner.before_run = lambda batch: None
        raise EngineFailed("It broke.")

    bench.submit("prompt")
    bench.step()
    bench.runner.before_run = fail
    bench.run()
    bench.submit("prompt", "again")
    assert bench.run().end("again").usage.cached_tokens == 0


@pytest.mark.parametrize("length", [CONTEXT, CONTEXT + 1])
def test_a_prompt_that_leaves_no_room_is_refused_with_both_numbers(length: int) -> None:
    bench = Bench({})
    with pytest.raises(ContextOverflow, match=rf"{length} tokens.*holds {CONTEXT} "):
        bench.submit("p" * length)
    assert not bench.engine.has_work


def test_a_prompt_that_leaves_room_for_one_token_gets_one() -> None:
    bench = Bench({"p" * (CONTEXT - 1): b"reply"})
    bench.submit("p" * (CONTEXT - 1))
    bench.run()
    assert bench.text() == "r"
    assert bench.end().finish_reason == "length"


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(ContextOverflow, match="no tokens"):
        Bench({}).submit("")


def test_rendering_answers_at_once_and_decodes_nothing() -> None:
    bench = Bench({}, template="{% for m in messages %}[{{ m.content }}]{% endfor %}")
    message = Message("user", "x" * 2 * CONTEXT)
    rendered = bench.engine.submit(GenerationRequest("r", (message,), render_only=True))
    assert rendered == Rendered("r", f"[{message.content}]", 2 * CONTEXT + 2)
    assert not bench.engine.has_work


def test_a_template_that_fails_leaves_no_request_behind() -> None:
    bench = Bench({}, template="{{ 1/0 }}")
    with pytest.raises(TemplateFailed):
        bench.engine.submit(GenerationRequest("r", (Message("user", "x"),)))
    assert bench.engine.num_requests == 0
    assert not bench.engine.has_work


def test_a_preempted_request_reports_no_progress_after_its_text() -> None:
    replies = {"a" * 6: b"1" * 12, "b" * 6: b"2" * 12}
    bench = Bench(replies, context=20, budget=4, num_slots=2)
    for name, prompt in zip("ab", replies, strict=True):
        bench.submit(prompt, name)
    bench.run()
    for name, reply in zip("ab", replies.values(), strict=True):
        check_contract(bench.of(name))
        assert bench.text(name) == reply.decode()


JOBS = st.tuples(
    st.text("ab", min_size=1, max_size=20),
    st.binary(max_size=12),
    st.integers(1, 10),
    st.integers(0, 30) | st.none(),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(JOBS, min_size=1, max_size=6), st.lists(st.booleans(), max_size=20))
def test_the_contract_holds_whatever_happens(
    jobs: list[tuple[str, bytes, int, int | None]], failures: list[bool]
) -> None:
    prompts = [f"{index}{text}" for index, (text, *_) in enumerate(jobs)]
    replies = {prompt: job[1] for prompt, job in zip(prompts, jobs, strict=True)}
    bench = Bench(replies, context=40, budget=8, num_slots=2)

    def fail(batch: ScheduledBatch) -> None:
        if failures and failures.pop():
            raise EngineFailed("It broke.")

    bench.runner.before_run = fail
    for index, prompt in enumerate(prompts):
        bench.submit(prompt, prompt, max_tokens=jobs[index][2], stop="\x00")
    for step in range(31):
        for prompt, job in zip(prompts, jobs, strict=True):
            if job[3] == step:
                bench.engine.cancel(prompt)
        bench.step()
    bench.run()
    for prompt in prompts:
        check_contract(bench.of(prompt))
        assert isinstance(bench.of(prompt)[-1], LAST_EVENTS)
        whole = replies[prompt].partition(b"\x00")[0].decode(errors="replace")
        cut_off = bench.text(prompt).removesuffix("\N{REPLACEMENT CHARACTER}")
        assert whole.startswith(cut_off)
    assert bench.engine.num_requests == 0
