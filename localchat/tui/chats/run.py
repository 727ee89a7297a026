"""One reply being made, followed by a thread of its own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import Literal

from localchat.errors import LocalchatError, from_kind
from localchat.events import Failed, Finished, PrefillProgress, Trimmed
from localchat.session.session import Events, Session
from localchat.tui.chats.engines import Engine, Engines
from localchat.tui.chats.live import Live, Phase

News = Literal["phase", "began", "streamed", "ended"]
"""What a run has to tell. began: the turn is stored. ended: the reply is, and the run is over."""


class Run:
    """Attributes are written by the thread and read by the screen, which `tell` wakes."""

    def __init__(
        self,
        engines: Engines,
        model: str,
        converse: Callable[[Engine], Session],
        begin: Callable[[Session], Events],
        tell: Callable[[News], None],
    ) -> None:
        """`converse` makes the session on an engine, `begin` what is asked of it."""
        self.phase: Phase = "loading"
        self.live: Live | None = None
        self.session: Session | None = None
        self.engine: Engine | None = None
        self.error: LocalchatError | None = None
        """Why there is no reply, or not the whole of one."""
        self.finished: Finished | None = None
        self.trimmed: Trimmed | None = None
        """What of the conversation the model was not shown."""
        self.is_stored = False
        """Whether the turn has come into the history."""
        self._engines = engines
        self._model = model
        self._converse = converse
        self._begin = begin
        self._tell = tell
        self._is_unwanted = threading.Event()
        self._turning = threading.Lock()  # the phase, which both threads change
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_over(self) -> bool:
        return not self._thread.is_alive() and self._thread.ident is not None

    @property
    def came_to_nothing(self) -> bool:
        """Whether it has ended without a reply: by an error, or before it was begun."""
        return not self.is_stored or (
            self.error is not None and not (self.live and self.live.content)
        )

    def stop(self) -> None:
        """Ends the reply; what has come of it is kept."""
        self._is_unwanted.set()
        self._enter("stopping")
        self._cancel()

    def wait(self, seconds: float) -> None:
        """Returns when the reply has ended, or after so many seconds."""
        self._thread.join(seconds)

    def _follow(self) -> None:
        try:
            self._make()
        except LocalchatError as error:
            self.error = error
        except OSError as error:
            self.error = LocalchatError(f"The system refused: {error}.")
        finally:
            if self.engine is not None:
                self._engines.give_back(self._model, self.engine)
            self._enter("idle")
            self._tell("ended")

    def _make(self) -> None:
        self.engine = engine = self._engines.lend(self._model)
        if self._is_unwanted.is_set():
            return
        self.session = session = self._converse(engine)
        try:
            events = self._begin(session)
        finally:  # it may be stored, and not be sent
            self.is_stored = session.turn is not None
        self.live = self._first_look(session)
        self._enter("prefill")
        self._tell("began")
        if self._is_unwanted.is_set():  # while it was being stored
            self._cancel()
        for event in events:
            self.live.take(event)
            match event:
                case Trimmed():
                    self.trimmed = event
                case Finished():
                    self.finished = event
                case Failed(kind=kind, message=message, hint=hint):
                    self.error = from_kind(kind, message, hint)
                case _:
                    self._enter("prefill" if isinstance(event, PrefillProgress) else "generating")
            self._tell("streamed")
        self.error = self.error or session.trouble

    def _enter(self, phase: Phase) -> None:
        """What is being stopped only ends, and what has ended stays so."""
        with self._turning:
            if phase == "idle" or self.phase not in ("stopping", "idle"):
                self.phase = phase

    def _cancel(self) -> None:
        if self.session is not None:
            with contextlib.suppress(LocalchatError, OSError):  # then it ends by itself
                self.session.cancel()

    @staticmethod
    def _first_look(session: Session) -> Live:
        """What there is of the reply: something, where one goes on that was cut off."""
        assert session.turn is not None
        reply = session.turn.reply
        found = next((one for one in session.path() if one.id == reply), None)
        return Live(reply, found.content, found.reasoning) if found else Live(reply)
