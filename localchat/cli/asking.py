"""One question on its way to the engine: as a turn of a conversation, or as a raw text."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

from localchat.cli import output
from localchat.cli.answer import receive_last
from localchat.cli.engine import Connection
from localchat.cli.kept import History, not_kept
from localchat.cli.prompt_text import argument_text, request
from localchat.client.base import EngineClient
from localchat.errors import HistoryFailed, OutOfSpace
from localchat.events import Event, Rendered
from localchat.presets.precedence import Decided
from localchat.session.lasting import lasting
from localchat.session.options import Options
from localchat.session.session import Session, Turns
from localchat.store.records import Conversation
from localchat.types import GenerationRequest


class Asking:
    """`session` is the conversation, once there is one: a raw text has none."""

    def __init__(
        self,
        connection: Connection,
        history: History,
        conversation: Conversation | None,
        decided: Decided,
        options: Options,
    ) -> None:
        self.session: Session | None = None
        self._client, self._model = connection.client, connection.model
        self._status = connection.status
        self._history = history
        self._conversation = conversation
        self._decided = decided
        self._options = options

    def begin(self, text: str, *, raw: bool) -> Generator[Event, None, None]:
        """The events of the answer; without a text, of the rest of the last one."""
        if raw:
            self._client.submit(self._raw_request(text))
            return _events(self._client)
        self.session = self._new_session(self._history.turns(self._conversation))
        try:
            return self.session.send(text) if text else self.session.continue_reply()
        except (HistoryFailed, OutOfSpace) as error:
            if self._conversation is not None:
                raise
            not_kept(error)
            self.session = self._new_session(None)
            return self.session.send(text)

    def show_prompt(self, text: str, *, raw: bool) -> None:
        """What the model would see, and how long it is."""
        if raw:
            asked = self._raw_request(text)
        else:
            turns = self._history.turns(self._conversation)
            asked = self._new_session(turns).preview(text)
        self._client.submit(replace(asked, render_only=True))
        rendered = receive_last(self._client, self._status)
        assert isinstance(rendered, Rendered)
        output.write(rendered.prompt)
        output.finish()
        if not rendered.prompt.endswith("\n"):
            output.line()
        output.note(f"{rendered.prompt_tokens:,} tokens")

    def say_what_was_lost(self) -> None:
        if self.session is not None and self.session.trouble is not None:
            not_kept(self.session.trouble)

    def _new_session(self, turns: Turns | None) -> Session:
        system = self._decided.system
        return Session(
            self._client,
            turns,
            self._model,
            self._options,
            conversation=self._conversation.id if self._conversation else None,
            system=argument_text(system, "The system prompt") if system else None,
            settings=lasting(self._decided),
        )

    def _raw_request(self, text: str) -> GenerationRequest:
        return replace(
            request(self._decided.system, text, raw=True),
            params=self._options.params,
            reasoning=self._options.reasoning,
            reasoning_budget=self._options.reasoning_budget,
            private=not self._history.keeps,
        )


def _events(client: EngineClient) -> Generator[Event, None, None]:
    yield from client.events()
