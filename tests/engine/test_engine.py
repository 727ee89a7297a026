from __future__ import annotations

import json
import threading
from collections import deque
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from localchat.engine.cells import CellLedger
from localchat.engine.chat_template import ChatTemplate
from localchat.engine.engine import Engine
from localchat.engine.intake import Intake, TooLong
from localchat.engine.kv_cache import KVCache
from localchat.engine.prompt import PromptBuilder
from localchat.engine.reports import Report, Summarised
from localchat.engine.scheduled import Output, Restore, ScheduledBatch, State
from localchat.engine.scheduler import Drafter, Scheduler
from localchat.engine.sequence import Sequence
from localchat.engine.slots import SlotTable
from localchat.errors import (
    ContextOverflow,
    EngineFailed,
    TemplateFailed,
    UsageError,
)
from localchat.events import (
    LAST_EVENTS,
    Event,
    Failed,
    Finished,
    PrefillProgress,
    ReasoningDelta,
    Rendered,
    Scored,
    TextDelta,
    TokenLogprobs,
    Trimmed,
)
from localchat.types import (
    Choice,
    GenerationRequest,
    Message,
    OverflowPolicy,
    SamplingParams,
    Score,
)
from tests.engine.fakes import (
    ByteVocabulary,
    FakeRunner,
    FakeStates,
    NextToken,
    Replies,
    check_books,
    checksum_score,
)

CONTEXT = 64


class Folder:
    """Takes snapshots as a `BackgroundWriter` does."""

    def __init__(self) -> None:
        self.states: list[tuple[list[int], str | None]] = []
        self.drained: list[float] = []

    def submit(self, tokens: list[int], state: State, *, conversation: str | None = None) -> None:
        self.states.append((tokens, conversation))

    def drain(self, timeout_seconds: float) -> bool:
        self.drained.append(timeout_seconds)
        return True


class Bench:
    """An engine whose model gives fixed replies, and what it has said so far."""

    def __init__(
        self,
        replies: dict[str, bytes] | NextToken,
        *,
        context: int = CONTEXT,
        budget: int = 16,
        num_slots: int = 4,
        template: str | None = None,
        can_cut: bool = True,
        drafter: Drafter | None = None,
        grammar: str | None = None,
    ) -> None:
        vocabulary = ByteVocabulary()
        next_token = Replies(replies) if isinstance(replies, dict) else replies
        self.runner = FakeRunner(context, budget, can_cut=can_cut, next_token=next_token)
        cells = CellLedger(context, num_slots)
        self.states = FakeStates(is_whole=not can_cut)
        self.scheduler = Scheduler(
            KVCache(SlotTable(num_slots, cells, can_cut=can_cut), cells, states=self.states),
            token_budget=budget,
            drafter=drafter,
        )
        intake = Intake(
            PromptBuilder(vocabulary, ChatTemplate(template, bos="", eos="") if template else None),
            lambda text: vocabulary.tokenize(text, add_special=False, parse_special=False),
            lambda params: (),
            lambda params: grammar,
            context=context,
            can_grow=True,
            has_checkpoints=not can_cut,
        )
        self.folder = Folder()
        self.engine = Engine(
            self.scheduler,
            self.runner,
            intake,
            vocabulary,
            context=context,
            checkpoints=None if can_cut else self.states,
            snapshots=self.folder,
        )
        self.events: list[Event] = []

    def submit(
        self, prompt: str, name: str = "r", *, max_tokens: int | None = None, stop: str = ""
    ) -> None:
        params = SamplingParams(max_tokens=max_tokens, stop=(stop,))
        assert self.engine.submit(GenerationRequest(name, prompt=prompt, params=params)) is None

    def ask(self, request: GenerationRequest) -> None:
        assert self.engine.submit(request) is None

    def step(self) -> None:
        for report in self.engine.step():
            self._take(report)
        check_books(self.scheduler, self.runner.memory)

    def _take(self, report: Report) -> None:
        if not isinstance(report, Summarised):
            self.events.append(report)
        elif failed := self.engine.resume(report):
            self.events.append(failed)

    def run(self) -> Bench:
        for _ in range(1000):
            if not self.engine.has_work:
                return self
            self.step()
        raise AssertionError("the engine never comes to rest")

    def of(self, name: str = "r") -> list[Event]:
        return [event for event in self.events if event.request_id == name]

    def text(self, name: str = "r", choice: int = 0) -> str:
        deltas = [event for event in self.of(name) if isinstance(event, TextDelta)]
        return "".join(delta.text for delta in deltas if delta.choice == choice)

    def thoughts(self, name: str = "r") -> str:
        return "".join(event.text for event in self.of(name) if isinstance(event, ReasoningDelta))

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


def test_text_tells_how_many_tokens_it_took() -> None:
    bench = Bench({"p": "aé!".encode()})  # a token is a byte
    bench.submit("p", stop="!?")
    deltas = [event for event in bench.run().events if isinstance(event, TextDelta)]
    assert [(delta.text, delta.tokens) for delta in deltas] == [("a", 1), ("é", 2), ("!", 2)]


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


@pytest.mark.parametrize("moment", ["before_run", "clear_abort"])
@pytest.mark.parametrize(("num_sequences", "is_stopped"), [(1, True), (2, False)])
def test_where_memory_can_not_be_cut_only_a_sequence_alone_is_stopped(
    num_sequences: int, is_stopped: bool, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step of several costs every slot what it holds, those of other requests too."""
    bench = Bench({"p": b"reply"}, can_cut=False)
    bench.ask(GenerationRequest("r", prompt="p", params=SamplingParams(n=num_sequences)))
    with monkeypatch.context() as patch:
        patch.setattr(bench.runner, moment, lambda *_: bench.engine.cancel("r"))
        bench.step()
    assert bench.runner.num_computed == (0 if is_stopped else num_sequences)
    assert bench.run().end().finish_reason == "cancelled"


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


def test_what_was_restored_before_a_batch_failed_is_not_trusted() -> None:
    bench = Bench({}, context=1024, budget=16)
    bench.states.checkpoint(list(b"s" * 100), json.dumps(list(b"s" * 100)).encode())

    def fail(batch: ScheduledBatch) -> None:
        assert [chunk.sequence.request.id for chunk in batch.chunks] == ["1"]
        assert any(isinstance(edit, Restore) for edit in batch.edits)
        raise EngineFailed("It broke.")

    bench.submit("long" * 20, "1")
    bench.submit("s" * 150, "2")
    bench.runner.before_run = fail
    bench.step()
    assert bench.events == [Failed(name, "EngineFailed", "It broke.") for name in "12"]
    assert bench.engine.num_requests == 0
    assert not bench.runner.memory.num_used


def test_where_memory_can_not_be_cut_a_batch_that_fails_costs_all_slots_what_they_hold() -> None:
    bench = Bench({"kept": b"reply", "a": b"first", "b": b"second"}, can_cut=False, num_slots=3)
    bench.submit("kept")
    bench.run()
    bench.submit("a", "1")
    bench.submit("b", "2")

    def fail(batch: ScheduledBatch) -> None:
        bench.runner.before_run = lambda batch: None
        bench.runner.memory.lose_moved(chunk.slot for chunk in batch.chunks)
        raise EngineFailed("It broke.")

    bench.runner.before_run = fail
    bench.run()
    assert [event.request_id for event in bench.events if isinstance(event, Failed)] == ["1", "2"]
    bench.submit("keptreply and more", "next")
    assert bench.run().end("next").usage.cached_tokens == 0


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
    length = 2 * CONTEXT
    assert rendered == Rendered(
        "r", f"[{message.content}]", length + 2, (length,), said=((1, length + 1),)
    )
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


def test_several_completions_share_their_prompt_and_have_one_end() -> None:
    bench = Bench({"p" * 40: b"reply"}, context=256, budget=64)
    params = SamplingParams(n=3, seed=2**32 - 1)
    bench.ask(GenerationRequest("r", prompt="p" * 40, params=params))
    end = bench.run().end()
    assert [bench.text(choice=choice) for choice in range(3)] == ["reply"] * 3
    assert end.choices == tuple(Choice("stop", 6, seed) for seed in (2**32 - 1, 0, 1))
    assert (end.usage.prompt_tokens, end.usage.completion_tokens) == (40, 18)
    assert bench.runner.num_computed == 40 + 2 + 3 * 5  # each computes the last prompt token
    check_contract(bench.of())


def test_one_of_several_completions_may_end_before_the_others_are_cancelled() -> None:
    bench = Bench({"p": b"long reply"}, num_slots=1)
    bench.ask(GenerationRequest("r", prompt="p", params=SamplingParams(n=2)))
    for _ in range(13):
        bench.step()
    bench.engine.cancel("r")
    end = bench.run().end()
    assert [choice.finish_reason for choice in end.choices] == ["stop", "cancelled"]
    assert bench.engine.num_requests == 0


def test_each_token_comes_with_its_logprobs_before_its_text() -> None:
    bench = Bench({"p": b"ab"})
    bench.ask(GenerationRequest("r", prompt="p", params=SamplingParams(logprobs=0)))
    _, *said, _ = bench.run().events
    assert said == [
        TokenLogprobs("r", "a", checksum_score([*b"p"], *b"a"), ()),
        TextDelta("r", "a"),
        TokenLogprobs("r", "b", checksum_score([*b"pa"], *b"b"), ()),
        TextDelta("r", "b"),
        TokenLogprobs("r", "", checksum_score([*b"pab"], ByteVocabulary.END), ()),
    ]


def expected_score(prompt: str, text: str) -> Score:
    tokens = [*prompt.encode(), *text.encode()]
    start = len(prompt)
    return Score(
        sum(checksum_score(tokens[:at], tokens[at]) for at in range(start, len(tokens))),
        len(tokens) - start,
    )


def score(bench: Bench, prompt: str, texts: tuple[str, ...], name: str = "s") -> None:
    bench.ask(GenerationRequest(name, prompt=prompt, continuations=texts, priority="batch"))


def test_texts_are_scored_in_their_order_and_empty_ones_too() -> None:
    bench, texts = Bench({}), ("yes", "", "no", "maybe not")
    score(bench, "p" * 20, texts)
    last = bench.run().of("s")[-1]
    assert isinstance(last, Scored)
    assert last.scores == tuple(expected_score("p" * 20, text) for text in texts)
    assert last.scores[1] == Score(0, 0)
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (20, 0)


@pytest.mark.parametrize("can_cut", [True, False])
def test_scores_count_once_however_often_a_text_is_computed(can_cut: bool) -> None:
    bench = Bench({}, budget=4, context=40, can_cut=can_cut)
    score(bench, "pp", ("t" * 20,))
    bench.runner.partly_done = 2
    for step in range(8):
        if step % 3:
            bench.runner.before_run = lambda batch: bench.runner.abort()
        bench.step()
        bench.runner.before_run = lambda batch: None
    last = bench.run().of("s")[-1]
    assert isinstance(last, Scored)
    assert last.scores == (expected_score("pp", "t" * 20),)


def test_a_text_whose_scoring_gave_way_to_a_chat_is_scored_right() -> None:
    bench = Bench({"c" * 25: b"reply"}, budget=8, context=40)
    score(bench, "pp", ("t" * 30,))
    bench.step()
    bench.step()
    bench.submit("c" * 25, "chat")
    last = bench.run().of("s")[-1]
    assert isinstance(last, Scored)
    assert last.scores == (expected_score("pp", "t" * 30),)
    assert bench.text("chat") == "reply"


@pytest.mark.parametrize("can_cut", [True, False])
def test_texts_to_score_share_their_prompt(can_cut: bool) -> None:
    bench, texts = Bench({}, budget=128, context=512, can_cut=can_cut), ("one", "two", "three")
    score(bench, "p" * 100, texts)
    last = bench.run().of("s")[-1]
    assert isinstance(last, Scored)
    assert last.scores == tuple(expected_score("p" * 100, text) for text in texts)
    # The first tells the others' first tokens; memory that can't be cut goes back to a checkpoint.
    assert bench.runner.num_computed == 99 + 3 + 2 + 4 + (0 if can_cut else 2)


def test_texts_of_one_token_each_are_scored_by_what_follows_the_prompt() -> None:
    bench, texts = Bench({}, budget=16, context=64), ("", "y", "n", "", "y", "maybe")
    score(bench, "p" * 20, texts)
    last = bench.run().of("s")[-1]
    assert isinstance(last, Scored)
    assert last.scores == tuple(expected_score("p" * 20, text) for text in texts)
    assert bench.runner.num_computed == 20 + 4


def test_scoring_can_be_cancelled() -> None:
    bench = Bench({}, budget=4)
    score(bench, "p" * 20, ("one", "two"))
    bench.step()
    bench.engine.cancel("s")
    assert bench.run().end("s").finish_reason == "cancelled"


@pytest.mark.parametrize(
    "request_",
    [
        GenerationRequest("r", prompt="p", params=SamplingParams(n=0)),
        GenerationRequest("r", prompt="p", params=SamplingParams(n=65)),
        GenerationRequest("r", prompt="p", params=SamplingParams(logprobs=101)),
        GenerationRequest("r", prompt="p", continuations=("x",) * 10_001),
    ],
)
def test_requests_beyond_the_limits_are_refused(request_: GenerationRequest) -> None:
    with pytest.raises(UsageError):
        Bench({}).engine.submit(request_)


def test_a_text_to_score_that_is_too_long_is_refused_by_its_number() -> None:
    with pytest.raises(ContextOverflow, match="continuation number 2"):
        score(Bench({}), "p", ("x", "x" * 64))


class Prophet:
    """Guesses what the model will say."""

    def __init__(self, next_token: NextToken) -> None:
        self.next_token = next_token
        self.num_asked = 0

    def propose(self, sequence: Sequence, most: int) -> tuple[int, ...]:
        self.num_asked += 1
        tokens = list(sequence.tokens)
        for _ in range(min(most, 5)):
            tokens.append(self.next_token(tokens))
        return tuple(tokens[len(sequence.tokens) :])


@pytest.mark.parametrize("max_tokens", [None, 4, 7])
@pytest.mark.parametrize("stop", ["", "y t"])
def test_guessed_replies_are_those_of_plain_decoding(max_tokens: int | None, stop: str) -> None:
    replies = {"p": b"reply text", "preply text, more": b"again"}
    ends, runs = [], []
    for drafter in (None, Prophet(Replies(replies))):
        bench = Bench(replies, drafter=drafter)
        bench.submit("p", max_tokens=max_tokens, stop=stop)
        bench.run()
        ends.append((bench.text(), bench.end().finish_reason, bench.end().usage))
        runs.append(bench.runner.num_runs)
        bench.submit("preply text, more", "next")
        assert bench.run().text("next") == "again"
    assert ends[0] == ends[1]
    assert runs[1] < runs[0]


THINKS = (
    "{% for m in messages %}{{ m.content }}{% endfor %}{% if false %}<think></think>{% endif %}"
)


@pytest.mark.parametrize("is_guessed", [False, True])
def test_a_grammar_constrains_the_answer_from_its_first_token(is_guessed: bool) -> None:
    replies = {"p<think>": b"some thoughts</think>{}"}
    template = THINKS.replace("{% if", "<think>{% if", 1)
    drafter = Prophet(Replies(replies)) if is_guessed else None
    bench = Bench(replies, template=template, context=256, grammar="G", drafter=drafter)
    bench.ask(GenerationRequest("r", (Message("user", "p"),)))
    tokens_then: list[int] = []
    constrain = bench.runner.constrain

    def note(sequence: Sequence, grammar: str) -> None:
        assert not drafter or not drafter.num_asked, "what a sampler has seen can't be taken back"
        tokens_then.extend(sequence.tokens)
        constrain(sequence, grammar)

    bench.runner.constrain = note  # type: ignore[method-assign]
    bench.run()
    assert bytes(tokens_then) == b"p<think>some thoughts</think>"
    assert (bench.thoughts(), bench.text()) == ("some thoughts", "{}")
    assert len(bench.runner.constrained) == 1
    assert not drafter or drafter.num_asked > 0


def test_an_answer_without_thoughts_is_constrained_at_once() -> None:
    bench = Bench({"p": b"{}"}, grammar="G")
    bench.submit("p")
    bench.step()
    assert [grammar for _, grammar in bench.runner.constrained] == ["G"]


def test_a_grammar_that_can_not_be_followed_fails_its_request_alone() -> None:
    bench = Bench({"p": b"{}"}, grammar="G")

    def fail(sequence: Sequence, grammar: str) -> None:
        raise EngineFailed("No text can follow.")

    bench.runner.constrain = fail  # type: ignore[method-assign]
    bench.submit("p")
    assert [type(event) for event in bench.run().events] == [Failed]
    assert bench.engine.num_requests == 0
    check_books(bench.scheduler, bench.runner.memory)


@pytest.mark.parametrize("is_guessed", [False, True])
def test_a_used_up_reasoning_budget_makes_the_model_answer(is_guessed: bool) -> None:
    opening, forced = b"<think>", b"\n</think>\n\n"
    thoughts = b"abcdefghijklmnopqrst"

    def next_token(tokens: list[int]) -> int:
        text = bytes(token for token in tokens if token != ByteVocabulary.END).removeprefix(b"p")
        if b"</think>" in text:
            answer = text.partition(b"</think>")[2].strip()
            return b"ok"[len(answer)] if len(answer) < 2 else ByteVocabulary.END
        return (opening + thoughts)[len(text) % 27]

    drafter = Prophet(next_token) if is_guessed else None
    bench = Bench(next_token, template=THINKS, context=256, drafter=drafter)
    bench.ask(GenerationRequest("r", (Message("user", "p"),), reasoning_budget=8))
    bench.run()
    assert bench.text() == "ok"
    assert bench.thoughts().strip() == "abcdefgh"[: len(bench.thoughts().strip())]
    assert len(bench.thoughts().strip()) <= 8
    assert forced.strip() not in bench.thoughts().encode()
    assert not drafter or not drafter.num_asked, "what a sampler has seen can't be taken back"


def test_a_failed_token_fails_its_request_and_the_others_go_on() -> None:
    bench = Bench({"a": b"first", "b": b"second"})
    bench.submit("a", "1")
    bench.submit("b", "2")
    run = bench.runner.run

    def fail(scheduled: ScheduledBatch) -> list[Output]:
        outputs = run(scheduled)
        bench.runner.run = run  # type: ignore[method-assign]
        return [Output(error=EngineFailed("Not a number.")), *outputs[1:]]

    bench.runner.run = fail  # type: ignore[method-assign]
    bench.step()
    bench.run()
    assert isinstance(bench.of("1")[-1], Failed)
    assert bench.text("2") == "second"
    assert bench.engine.num_requests == 0


def test_an_interactive_request_stops_a_long_step_of_a_batch() -> None:
    bench = Bench({"p" * 40: b"batch", "q": b"chat"}, budget=40)
    bench.ask(GenerationRequest("b", prompt="p" * 40, priority="batch"))

    def arrive(batch: ScheduledBatch) -> None:
        bench.runner.before_run = lambda batch: None
        bench.submit("q", "chat")

    bench.runner.before_run = arrive
    bench.step()
    assert bench.events == []
    bench.step()
    assert [event.request_id for event in bench.events] == ["chat"] * 2
    bench.run()
    assert (bench.text("b"), bench.text("chat")) == ("batch", "chat")


@pytest.mark.parametrize(("rows", "is_stopped"), [(23, False), (24, True)])
def test_a_short_step_is_not_stopped(rows: int, is_stopped: bool) -> None:
    bench = Bench({"p" * rows: b"batch", "q": b"chat"}, budget=40)
    bench.ask(GenerationRequest("b", prompt="p" * rows, priority="batch"))
    bench.runner.before_run = lambda batch: bench.submit("q", "chat")
    bench.step()
    assert (bench.events == []) == is_stopped


def test_a_conversation_is_handed_to_the_snapshots_when_there_is_nothing_else_to_do() -> None:
    bench = Bench({"p" * 300: b"reply"}, context=1024, budget=512)
    bench.ask(GenerationRequest("r", prompt="p" * 300, conversation="chat"))
    assert not bench.engine.tidy()
    bench.run()
    assert bench.engine.tidy()
    assert not bench.engine.tidy()
    assert bench.folder.states == [([*b"p" * 300, *b"reply"], "chat")]


def test_what_is_no_conversation_is_not_saved() -> None:
    bench = Bench({"p" * 300: b"reply"}, context=1024, budget=512)
    bench.submit("p" * 300)
    bench.run()
    assert not bench.engine.tidy()


def test_closing_saves_conversations_in_the_middle_of_a_reply() -> None:
    bench = Bench({"p" * 300: b"reply", "q": b""}, context=1024, budget=512, num_slots=1)
    bench.ask(GenerationRequest("r", prompt="p" * 300, conversation="chat"))
    bench.submit("q", "waiting")
    for _ in range(3):
        bench.step()
    said = len(bench.events)
    bench.engine.close(2.5)
    assert bench.folder.states == [([*b"p" * 300, *b"re"], "chat")]
    assert bench.folder.drained == [2.5]
    assert bench.engine.num_requests == 0
    assert not bench.engine.has_work
    assert len(bench.events) == said


TURNS = "{% for m in messages %}[{{ m.role[0] }}{{ m.content }}]{% endfor %}"


def talk(*contents: str, overflow: OverflowPolicy = "refuse") -> GenerationRequest:
    roles = ("user", "assistant")
    messages = [Message(roles[i % 2], content) for i, content in enumerate(contents)]  # type: ignore[arg-type]
    system = Message("system", "be brief")
    return GenerationRequest("r", (system, *messages), overflow=overflow)


def test_memory_that_can_not_be_cut_is_checkpointed_at_the_ends_of_messages() -> None:
    prompt = "[sbe brief][uhello]"
    bench = Bench({prompt: b"hi"}, template=TURNS, can_cut=False)
    bench.ask(talk("hello"))
    bench.run()
    assert sorted(map(len, bench.states.states)) == [len("[sbe brief]"), len(prompt) - 1]
    for tokens in bench.states.states:
        assert prompt.encode().startswith(bytes(tokens))


def test_the_oldest_turns_are_dropped_and_announced() -> None:
    kept = "[sbe brief][u" + "z" * 20 + "]"
    bench = Bench({kept: b"ok"}, template=TURNS)
    bench.ask(talk("x" * 20, "y" * 20, "z" * 20, overflow="drop"))
    bench.run()
    assert bench.events[0] == Trimmed("r", (1, 2))
    assert bench.text() == "ok"


def test_a_conversation_that_is_refused_leaves_nothing_behind() -> None:
    bench = Bench({}, template=TURNS)
    with pytest.raises(ContextOverflow):
        bench.engine.submit(talk("x" * 20, "y" * 20, "z" * 20))
    with pytest.raises(ContextOverflow):
        bench.engine.submit(talk("x" * 90, overflow="drop"))
    with pytest.raises(ContextOverflow):
        bench.engine.submit(talk("x" * 20, "y" * 20, "z" * 20, overflow="summarise"))
    assert bench.engine.num_requests == 0
    assert not bench.engine.has_work
    assert not bench.engine._summaries


def summariser(tokens: list[int]) -> int:
    """Summarises anything to "sum", and answers with "ok"."""
    text = bytes(tokens)
    reply = b"sum" if b"You summarise" in text else b"ok"
    done = len(text) - text.rindex(b"]") - 1
    return reply[done] if done < len(reply) else ByteVocabulary.END


def long_talk() -> GenerationRequest:
    return talk("x" * 500, "y" * 500, "z" * 500, overflow="summarise")


def test_a_summary_stands_for_the_oldest_turns_and_is_announced() -> None:
    bench = Bench(summariser, template=TURNS, context=1024, budget=512)
    bench.ask(long_talk())
    bench.run()
    trimmed = bench.events[0]
    assert trimmed == Trimmed("r", (1, 2), "sum")
    assert {event.request_id for event in bench.events} == {"r"}
    assert bench.text() == "ok"
    assert bench.runner.num_computed > 1500, "the summary was made of all that was dropped"
    check_contract(bench.events[1:])
    assert bench.engine.num_requests == 0


@pytest.mark.parametrize("steps", range(12))
def test_a_request_can_be_cancelled_while_its_summary_is_made(steps: int) -> None:
    bench = Bench(summariser, template=TURNS, context=1024, budget=512)
    bench.ask(long_talk())
    for _ in range(steps):
        if bench.engine.has_work:
            bench.step()
    bench.engine.cancel("r")
    bench.run()
    lasts = [event for event in bench.events if isinstance(event, LAST_EVENTS)]
    assert [event.request_id for event in lasts] == ["r"]
    assert bench.end().finish_reason in ("cancelled", "stop")
    assert bench.engine.num_requests == 0
    assert not bench.engine._summaries


def test_a_cancel_is_not_lost_while_a_request_goes_on_with_its_summary() -> None:
    """The engine's thread looks for it in the very moment at which `resume` moves it."""
    bench = Bench(summariser, template=TURNS, context=1024, budget=512)
    reports: list[Report] = []

    class Moving(dict[str, TooLong]):
        def pop(self, key: str, *default: None) -> TooLong | None:  # type: ignore[override]
            found = super().pop(key, *default)
            if threading.current_thread() is threading.main_thread() and not steps.is_alive():
                bench.engine.cancel("r")
                steps.start()
                steps.join(0.2)
            return found

    bench.engine._summaries = Moving()
    steps = threading.Thread(target=lambda: reports.extend(bench.engine.step()))
    bench.ask(long_talk())
    while not (parts := [part for part in bench.engine.step() if isinstance(part, Summarised)]):
        pass
    assert bench.engine.resume(parts[0]) is None
    steps.join()
    assert [type(report) for report in reports] == [Finished]
    assert bench.run().events == [], "it was over"
    assert not bench.engine._summaries


def test_a_summary_that_fails_fails_the_request() -> None:
    bench = Bench(summariser, template=TURNS, context=1024, budget=512)

    def fail(batch: ScheduledBatch) -> None:
        raise EngineFailed("It broke.")

    bench.runner.before_run = fail
    bench.ask(long_talk())
    assert bench.run().events == [Failed("r", "EngineFailed", "It broke.")]
    assert bench.engine.num_requests == 0
    assert not bench.engine._summaries
