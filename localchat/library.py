"""localchat from Python: a question, or a conversation, over the same session as the commands.

    import localchat

    print(localchat.ask("Why is the sky blue?"))

    with localchat.chat(system="Answer in one sentence.") as chat:
        for piece in chat.send("Why is the sky blue?"):
            print(piece, end="", flush=True)
        print(chat.send("And at night?"))

Settings, presets and running engines are those of the command line. Two things differ: nothing is
kept in the history unless `log=True`, and nothing is ever downloaded. Errors are those of
`localchat.errors`: `str(error)` is a sentence, `error.hint` the next command to type.
"""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from types import TracebackType
from typing import Any, TypedDict, Unpack

from localchat import config, paths
from localchat.answer_form import form
from localchat.client.launcher import open_engine
from localchat.errors import InputError, UsageError, from_kind
from localchat.events import (
    LAST_EVENTS,
    Event,
    Failed,
    Finished,
    ReasoningDelta,
    TextDelta,
    Trimmed,
)
from localchat.presets.precedence import decide
from localchat.presets.preset import check_sampling
from localchat.registry.resolve import resolve
from localchat.session.lasting import lasting
from localchat.session.loading import load_options
from localchat.session.options import Options
from localchat.session.session import Session
from localchat.types import FinishReason, Message, ReasoningMode, Timings, Usage

_NOTHING = Usage(prompt_tokens=0, cached_tokens=0, completion_tokens=0)


class Sampling(TypedDict, total=False):
    """How replies are drawn, and when they end. What is left out is as settings and model say."""

    temperature: float
    """Randomness; 0 takes the likeliest token."""
    top_p: float
    """Keep the likeliest tokens that together have this probability."""
    top_k: int
    """Keep this many of the likeliest tokens; 0 keeps all."""
    min_p: float
    """Drop tokens less likely than this part of the likeliest one's probability."""
    repeat_penalty: float
    """Above 1, makes tokens of the last 64 less likely to come again."""
    frequency_penalty: float
    """Above 0, makes tokens less likely each time they come."""
    presence_penalty: float
    """Above 0, makes tokens that have come less likely."""
    seed: int
    """Makes the random draw repeatable."""
    max_tokens: int
    """Tokens of a reply at most."""
    stop: str | Sequence[str]
    """End before any of these texts."""
    json_schema: str | Mapping[str, Any] | type
    """Answer in JSON of this schema: JSON text, the same as a dict, a pydantic model, or a file."""
    grammar: str
    """Answer as this grammar (GBNF) has it."""


class Reply:
    """What the model answers, as it comes.

    Iterating gives the answer piece by piece; whatever else is asked of it waits for the end first,
    `str(reply)` too. Pieces that have come can be read again. A reply that fails raises
    why, whenever it is read.
    """

    def __init__(
        self,
        session: Session,
        events: Generator[Event, None, None],
        at_end: Callable[[], None] = lambda: None,
    ) -> None:
        """`at_end` is called once, when the reply is over or nobody has it any more."""
        self._session = session
        self._events = events
        self._at_end = weakref.finalize(self, at_end)
        self._pieces: list[str] = []
        self._reasoning: list[str] = []
        self._trimmed: Trimmed | None = None
        self._end: Finished | None = None
        self._error: Exception | None = None

    def __iter__(self) -> Iterator[str]:
        number = 0
        while number < len(self._pieces) or self._read():
            if number < len(self._pieces):
                yield self._pieces[number]
                number += 1

    def __str__(self) -> str:
        return self.text

    @property
    def text(self) -> str:
        """The whole answer."""
        self._finish()
        return "".join(self._pieces)

    @property
    def reasoning(self) -> str:
        """What the model thought before it answered."""
        self._finish()
        return "".join(self._reasoning)

    @property
    def finish_reason(self) -> FinishReason:
        """stop: the model's own end, or a stop text. length: `max_tokens`, or the context is full.
        cancelled: by `stop`, or by Ctrl-C."""
        return self._finish().finish_reason

    @property
    def usage(self) -> Usage:
        """Token counts. Ctrl-C leaves none."""
        return self._finish().usage

    @property
    def seed(self) -> int:
        """What makes the same draw again."""
        return self._finish().seed

    @property
    def num_dropped(self) -> int:
        """Messages of a conversation that the model did not see: it has outgrown the context, and
        the setting `overflow` lets the oldest go."""
        self._finish()
        return len(self._trimmed.dropped) if self._trimmed else 0

    def stop(self) -> None:
        """Ends the reply here; what has come stays."""
        if self._end is None and self._error is None:
            self._session.cancel()
            self._finish()

    def _finish(self) -> Finished:
        while self._read():
            pass
        assert self._end is not None
        return self._end

    def _read(self) -> bool:
        """Waits for one event; False if the reply is over."""
        if self._error is not None:
            raise self._error
        if self._end is not None:
            return False
        try:
            event = next(self._events)
            if isinstance(event, Failed):
                raise from_kind(event.kind, event.message, event.hint)
        except Exception as error:
            self._error = error
            self._at_end()
            raise
        except BaseException:  # Ctrl-C; the session has cancelled the reply
            self._over(Finished("", "cancelled", _NOTHING, Timings(0.0, 0.0, 0.0), 0))
            raise
        match event:
            case TextDelta(text=text):
                self._pieces.append(text)
            case ReasoningDelta(text=text):
                self._reasoning.append(text)
            case Trimmed():
                self._trimmed = event
            case Finished():
                self._over(event)
        return not isinstance(event, LAST_EVENTS)

    def _over(self, end: Finished) -> None:
        self._end = end
        if self._session.trouble is not None:
            _warn(f"The reply is not kept in the history: {self._session.trouble}")
        self._at_end()


class Chat:
    """A conversation on an engine, made by `chat`. It belongs to one thread."""

    def __init__(self, session: Session, resources: ExitStack) -> None:
        self._session = session
        self._resources = resources
        self._reply: Reply | None = None

    def __enter__(self) -> Chat:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def messages(self) -> list[Message]:
        """The conversation so far, a system prompt first if there is one."""
        return [Message(one.role, one.content) for one in self._session.path()]

    @property
    def conversation(self) -> str | None:
        """Its id in the history, for `localchat --cid`; None without `log`, and before a turn."""
        return None if self._session.is_private else self._session.conversation

    def send(self, text: str) -> Reply:
        """Says something; the reply can be read as it comes. One that still comes is stopped."""
        self._end_reply()
        return self._follow(self._session.send(_text(text, "The prompt")))

    def regenerate(self) -> Reply:
        """Another reply in the place of the last one."""
        self._end_reply()
        return self._follow(self._session.regenerate())

    def close(self) -> None:
        """Leaves the engine; a reply that still comes ends. May be called again."""
        self._resources.close()

    def _follow(self, events: Generator[Event, None, None]) -> Reply:
        self._reply = Reply(self._session, events)
        return self._reply

    def _end_reply(self) -> None:
        reply, self._reply = self._reply, None
        if reply is not None:
            reply.stop()


def ask(
    prompt: str,
    *,
    model: str | None = None,
    system: str | None = None,
    preset: str | None = None,
    parameters: Mapping[str, str] | None = None,
    reasoning: ReasoningMode | None = None,
    log: bool = False,
    **sampling: Unpack[Sampling],
) -> Reply:
    """Asks one question; the answer can be read as it comes, or whole: `print(ask("Hi"))`.

    `model`: a name or the path of a .gguf file, as `localchat -m` takes it. `system`: instructions
    that come before. `preset` and its `parameters`: see `localchat presets list`. `reasoning`:
    whether a reasoning model thinks first. `log`: keep it in the history; otherwise nothing of it
    is written to disk.

    Raises what finding the model and starting its engine raise, such as ModelNotFound, and
    UsageError for values that make no sense.
    """
    prompt = _text(prompt, "The prompt")
    session, resources = _open(
        model, system, preset, parameters, reasoning, log=log, sampling=sampling
    )
    session.options = session.options._replace(overflow="refuse")  # there are no oldest turns
    with resources:
        events = session.send(prompt)
        return Reply(session, events, resources.pop_all().close)


def chat(
    *,
    model: str | None = None,
    system: str | None = None,
    preset: str | None = None,
    parameters: Mapping[str, str] | None = None,
    reasoning: ReasoningMode | None = None,
    log: bool = False,
    **sampling: Unpack[Sampling],
) -> Chat:
    """Begins a conversation, to be used in a `with` block. The values are those of `ask`."""
    session, resources = _open(
        model, system, preset, parameters, reasoning, log=log, sampling=sampling
    )
    return Chat(session, resources)


def _open(
    model: str | None,
    system: str | None,
    preset: str | None,
    parameters: Mapping[str, str] | None,
    reasoning: ReasoningMode | None,
    *,
    log: bool,
    sampling: Sampling,
) -> tuple[Session, ExitStack]:
    """A new conversation, and what is to be closed after it."""
    places = paths.find()
    settings = config.load(places)
    flags = {"model": model, "preset": preset, "reasoning": reasoning, **_values(sampling)}
    flags["system"] = system and _text(system, "The system prompt")
    decided = decide(flags, parameters or {}, settings, places)
    found = resolve(decided.model, places)
    options = Options(decided.params(found), decided.reasoning, overflow=settings.overflow)
    with ExitStack() as resources:
        store = None
        if log:
            from localchat.store.store import Store  # 10 ms, which only those who keep it pay

            store = resources.enter_context(Store.open(places))
            for note in store.notes:
                _warn(note)
        client = open_engine(found, load_options(settings, places), settings.keep_alive, places)
        resources.enter_context(closing(client))
        session = Session(
            client, store, found, options, system=decided.system, settings=lasting(decided)
        )
        return session, resources.pop_all()


def _values(sampling: Sampling) -> dict[str, Any]:
    """Fields of `localchat.types.SamplingParams`. Raises UsageError."""
    values: dict[str, Any] = dict(sampling)
    shape = {name: values.pop(name) for name in ("json_schema", "grammar") if name in values}
    if "stop" in values:
        stop = values["stop"]
        values["stop"] = [stop] if isinstance(stop, str) else list(stop)
    if "json_schema" in shape:
        shape["json_schema"] = form(shape["json_schema"]).schema
    return check_sampling(values) | shape


def _text(text: str, name: str) -> str:
    if not text:
        raise UsageError(f"{name} is empty.")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"{name} is no text: its character {error.start:,} is half of a surrogate pair."
        ) from error
    return text


def _warn(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=2)
