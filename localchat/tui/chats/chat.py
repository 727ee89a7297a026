"""One conversation that is open: its messages as they stand, and the reply that is being made."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from localchat.errors import LocalchatError
from localchat.events import Trimmed
from localchat.session.ephemeral import Ephemeral
from localchat.session.options import Options
from localchat.session.session import Events, Session, Turns
from localchat.store.records import Conversation, StoredMessage
from localchat.store.title import title_of
from localchat.tui.chats.engines import Engine, Engines
from localchat.tui.chats.history import History
from localchat.tui.chats.live import Live, Phase
from localchat.tui.chats.run import News, Run
from localchat.tui.chats.settings import ChatSettings, to_json

if TYPE_CHECKING:
    from localchat.store.store import Store
    from localchat.tui.chats.context import ContextUse

Tell = Callable[["Chat", News], None]
"""Called in the thread of a reply; see `Run`. By then `messages` are what the history has."""


class Chat:
    """What a chat shows is in its attributes.

    `send` and what else asks for a reply return at once. `load` and those below it wait for the
    disk: they are for threads, and raise what the store raises.
    """

    def __init__(
        self,
        engines: Engines,
        history: History,
        settings: ChatSettings,
        tell: Tell,
        *,
        conversation: Conversation | None = None,
        private_key: str | None = None,
    ) -> None:
        """`private_key`: what a chat of which nothing is kept is found by."""
        self.conversation = conversation
        """None for one that is new, or private."""
        self.is_private = private_key is not None
        """Whether nothing of it is kept."""
        self.settings = settings
        """What the next turn is asked with."""
        self.messages: list[StoredMessage] = []
        """From the beginning to where the conversation is now."""
        self.alternatives: Mapping[int, tuple[int, ...]] = {}
        """Of messages that have siblings: the ids of all of them, oldest first."""
        self.run: Run | None = None
        """The reply that is being made, or was made last."""
        self.context = 0
        """Tokens that the engine's context holds; 0 until that is known."""
        self.quantization = ""
        """Of the model's weights; empty until it is known."""
        self.is_unseen = False
        """Whether a reply has come while the chat was not on the screen."""
        self._engines = engines
        self._history = history
        self._tell = tell
        self._private_key = private_key
        self._private = Ephemeral() if self.is_private else None
        self._said: str | None = None
        self._beside: Run | None = None
        self._loading = threading.Lock()  # what was read last is what is shown

    @property
    def id(self) -> str | None:
        """Of its conversation, in the history."""
        return self.conversation.id if self.conversation else None

    @property
    def key(self) -> str | None:
        """What it is found by among the open ones; None for one that has not begun."""
        return self._private_key if self.is_private else self.id

    @property
    def title(self) -> str:
        if self.conversation is not None:
            return self.conversation.title
        said = next((one.content for one in self.messages if one.role == "user"), None)
        return "New chat" if said is None else title_of(said)

    @property
    def phase(self) -> Phase:
        return self.run.phase if self.run is not None else "idle"

    @property
    def is_busy(self) -> bool:
        """Whether a reply is being made, or one beside it."""
        return any(run.phase != "idle" for run in self._runs)

    @property
    def live(self) -> Live | None:
        """The reply that is being made, once the turn is stored."""
        return self.run.live if self.run is not None and self.phase != "idle" else None

    @property
    def pending(self) -> str | None:
        """What the user has sent, while it is not among the messages."""
        return None if self.run is None or self.run.is_stored else self._said

    @property
    def trimmed(self) -> Trimmed | None:
        """What the last reply's model was not shown."""
        return self.run.trimmed if self.run is not None else None

    @property
    def context_used(self) -> int:
        """Tokens of the context that the conversation takes, as far as is known."""
        used = 0
        for message in reversed(self.messages):
            usage = message.generations[-1].usage if message.generations else None
            if usage is not None:
                used = usage.prompt_tokens + usage.completion_tokens
                break
        if self.live is not None:
            prompt = self.live.prompt_tokens or used
            used = prompt + self.live.tokens
        return used

    @property
    def last_reply(self) -> StoredMessage | None:
        last = self.messages[-1] if self.messages else None
        return last if last is not None and last.role == "assistant" else None

    @property
    def last_rate(self) -> float | None:
        """Tokens a second of the last reply, as far as is known."""
        last = self.last_reply
        ran = last.generations[-1] if last is not None and last.generations else None
        if ran is None or ran.usage is None or ran.timings is None or not ran.timings.decode:
            return None
        # The first one came with the prompt.
        return max(ran.usage.completion_tokens - 1, 0) / ran.timings.decode or None

    # replies

    def send(self, text: str) -> None:
        """Goes on with what the user says."""
        self._start(lambda session: session.send(text), said=text)

    def edit(self, message: int, text: str) -> None:
        """Goes on from another text in a message's place; the old one stays, as a branch."""
        self._start(lambda session: session.edit(message, text), said=text)

    def regenerate(self, message: int | None = None) -> None:
        """Makes another reply beside a reply, or to what the user said; by default, the last."""
        self._start(lambda session: session.regenerate(message))

    def continue_reply(self, message: int | None = None) -> None:
        """Goes on with a reply that was cut off; by default, the last."""
        self._start(lambda session: session.continue_reply(message))

    def answer_beside(
        self,
        settings: ChatSettings,
        begin: Callable[[Session], Events],
        tell: Callable[[News], None],
    ) -> Run:
        """Another reply at the same time, with other settings; the chat's own stays the current."""
        self._beside = Run(
            self._engines,
            settings.model,
            lambda engine: self.session_on(engine, settings),
            begin,
            tell,
        )
        self._beside.start()
        return self._beside

    def stop(self) -> None:
        """Ends the reply, and one beside it; what has come of them is kept, and can go on."""
        for run in self._runs:
            run.stop()

    def wait(self, seconds: float) -> None:
        """Returns when the reply has ended, and one beside it, or after so many seconds."""
        deadline = time.monotonic() + seconds
        for run in self._runs:
            run.wait(max(0.0, deadline - time.monotonic()))

    def take_back(self) -> str | None:
        """What the user sent and no word came of: it is theirs again. Once."""
        if self.run is None or self.phase != "idle" or not self.run.came_to_nothing:
            return None
        text, self._said = self._said, None
        return text

    def session_on(self, engine: Engine, settings: ChatSettings | None = None) -> Session:
        """The conversation as it would go on now, with its own settings or with others."""
        chosen = settings or self.settings
        has_begun = bool(self.messages)
        own = self.own_system or ""
        options = Options(
            chosen.params(engine.model),
            chosen.reasoning,
            overflow=chosen.overflow,
            system=chosen.system if has_begun and chosen.system != own else None,
        )
        return Session(
            engine.client,
            self._turns,
            engine.model,
            options,
            conversation=self.id,
            system=chosen.system or None,
            settings=to_json(self.settings),
        )

    def _start(self, begin: Callable[[Session], Events], said: str | None = None) -> None:
        assert not self.is_busy, "one reply at a time"
        self._said = said
        self.run = Run(self._engines, self.settings.model, self.session_on, begin, self._heard)
        self.run.start()

    def _heard(self, news: News) -> None:
        """In the thread of the reply."""
        run = self.run
        assert run is not None
        if run.engine is not None:
            self.know(run.engine)
        if news in ("began", "ended") and run.session is not None:
            try:
                begun = run.session.conversation
                if not self.is_private and self.conversation is None and begun is not None:
                    self.conversation = self._store.conversation(begun)
                self.load()
            except LocalchatError as error:  # the reply goes on, or has been made
                run.error = run.error or error
        self._tell(self, news)

    def measure(self, text: str | None = None) -> ContextUse:
        """What the conversation takes of the context, with what the user may say next.

        Raises what finding the engine raises, and UsageError if there is nothing to measure.
        """
        from localchat.tui.chats import context  # when it is asked for

        with self._engines.lent(self.settings.model) as engine:
            self.know(engine)
            return context.measure(engine.client, self.session_on(engine), text)

    def know(self, engine: Engine) -> None:
        """What is told of the engine that answers."""
        self.context = engine.client.info.context
        self.quantization = engine.quantization

    # what waits for the disk, or for an engine

    def warm(self) -> None:
        """Has the model loaded. Raises what finding and loading it raises."""
        with self._engines.lent(self.settings.model) as engine:
            self.know(engine)

    def load(self) -> None:
        """Reads the messages anew."""
        if self.conversation is None and not self.is_private:
            return
        with self._loading:
            turns = self._turns
            if self.conversation is not None:
                self.conversation = self._store.conversation(self.conversation.id)
            self.messages = turns.path(self.id or "")
            self.alternatives = turns.alternatives(self.id or "")

    def message(self, id_: int) -> StoredMessage:
        """One of its messages, also of another branch."""
        return self._turns.message(id_)

    def show_sibling(self, message: int) -> None:
        """Makes the branch through `message` the current one."""
        self._turns.set_leaf(message)
        self.load()

    def go_back(self, message: int | None) -> None:
        """Ends the conversation with `message`; what followed stays, as a branch."""
        self._turns.go_back(self.id or "", message)
        self.load()

    def delete(self, message: int) -> None:
        """Deletes a message for good, with all that followed it."""
        if self._private is not None:
            self._private.delete_message(message)
        else:
            from localchat.store import removal  # 5 ms, after the first frame

            removal.delete_message(self._store, message, self._history.places)
        self.load()

    def change(self, settings: ChatSettings) -> None:
        """Further turns are made with these, also when the conversation is opened again."""
        self.settings = settings
        if self.conversation is not None:
            self._store.set_settings(self.conversation.id, to_json(settings))

    def rename(self, title: str | None) -> None:
        """Gives the conversation a title of the user's; None: the one from its first message."""
        if self.conversation is not None:
            self.conversation = self._store.rename(self.conversation.id, title)

    @property
    def _runs(self) -> list[Run]:
        return [run for run in (self.run, self._beside) if run is not None]

    @property
    def own_system(self) -> str | None:
        """The system prompt that the conversation began with."""
        first = self.messages[0] if self.messages else None
        return first.content if first is not None and first.role == "system" else None

    @property
    def _store(self) -> Store:
        return self._history.store()

    @property
    def _turns(self) -> Turns:
        return self._store if self._private is None else self._private
