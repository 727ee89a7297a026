"""The rows that are with the engine: sent while others come back, resent if the engine dies.

Two threads: one reads rows and sends them, so a slow input keeps nothing waiting that is finished;
the other takes in what the engine says. What comes of it is for the owner, in `results`.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from queue import SimpleQueue

from localchat.answer_form import AnswerForm
from localchat.batch.answer import Answer, Unfit, failure
from localchat.batch.intake import Item, Known
from localchat.batch.journal import Finished
from localchat.batch.request import Requests, Row
from localchat.client.base import EngineClient
from localchat.errors import EngineDied, InvalidGrammar, LocalchatError, from_kind
from localchat.events import LAST_EVENTS, Event, Failed, Scored
from localchat.events import Finished as EngineFinished
from localchat.types import Message

_PATIENCE = 1.0  # seconds that an engine gets to end what it is told to
_MOST_HELD = 2**22  # characters of rows between the input and `settle`: rows may be long
_MOST_KILLERS = 3  # rows one after the other that each seem to kill the engine: then it is not them


class End:
    """Nothing more comes; `error` is what ended it before its time."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Sent:
    """A row on its way."""

    __slots__ = ("answer", "deaths", "further", "row")

    def __init__(self, row: Row) -> None:
        self.row = row
        self.answer = Answer()
        self.further: tuple[Message, ...] = ()
        self.deaths = 0


class Flight:
    """`results` gets every item of `items` that needs no answer, and each answered row, in lists of
    one or more."""

    def __init__(
        self,
        items: Iterable[Item],
        requests: Requests,
        open_engine: Callable[[], EngineClient],
        *,
        form: AnswerForm | None,
        choices: tuple[str, ...],
        concurrency: int,
        window: int,
        known_at_once: int,
    ) -> None:
        """`concurrency`: rows with the engine at most. `window`: items at most between the input
        and `settle`, and fewer if they are long. `known_at_once`: rows known before that may wait
        for each other.
        """
        self.results: SimpleQueue[list[Finished | Known] | End] = SimpleQueue()
        self._items = items
        self._requests = requests
        self._open_engine = open_engine
        self._form = form
        self._choices = choices
        self._concurrency = concurrency
        self._window = window
        self._known_at_once = known_at_once
        self._changed = threading.Condition()
        self._client: EngineClient | None = None
        self._sent: dict[str, _Sent] = {}
        self._suspects: deque[_Sent] = deque()
        self._killers = 0
        self._unsettled = 0
        self._held = 0
        self._is_fed = False
        self._is_stopped = False
        self._prefix = os.urandom(6).hex()
        self._requests_sent = 0
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), daemon=True)
            for work in (self._feed, self._receive)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def settle(self, group: Sequence[Finished | Known]) -> None:
        """These results are done with: as many further rows may be read."""
        with self._changed:
            self._unsettled -= len(group)
            self._held -= sum(len(one.row.source) for one in group)
            self._changed.notify_all()

    def stop(self) -> None:
        """Ends what is with the engine, and leaves it. Results that are there stay."""
        with self._changed:
            self._is_stopped = True
            client, running = self._client, list(self._sent)
            self._changed.notify_all()
        if client is not None:
            for id_ in running:
                client.cancel(id_)
        for thread in reversed(self._threads):
            if thread.ident is not None:
                thread.join(_PATIENCE)
        if client is not None:
            client.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except BaseException as error:
            with self._changed:
                self._is_stopped = True
                self._changed.notify_all()
            self.results.put(End(error))

    # the thread that sends

    def _feed(self) -> None:
        for item in self._grouped():
            rows = [item] if isinstance(item, Row) else [one.row for one in item]
            with self._changed:
                self._changed.wait_for(self._may_go_on)
                self._unsettled += len(rows)
                self._held += sum(len(row.source) for row in rows)
            if self._is_stopped:
                return
            if not isinstance(item, Row):
                self.results.put(item)
                continue
            if self._client is None:
                client = self._open_engine()  # only now: there may be nothing to ask
                with self._changed:
                    self._client = client
            with self._changed:
                self._changed.wait_for(self._has_room)
                if self._is_stopped:
                    return
                sent = _Sent(item)
                id_ = self._register(sent)
            self._submit(id_, sent)
        with self._changed:
            self._is_fed = True
            self._changed.notify_all()

    def _grouped(self) -> Iterator[Row | list[Finished | Known]]:
        """The items; rows known before together: going through them takes half the time then."""
        known: list[Finished | Known] = []
        for item in self._items:
            if isinstance(item, Known):
                known.append(item)
                if len(known) < self._known_at_once:
                    continue
            if known:
                yield known
                known = []
            if not isinstance(item, Known):
                yield item if isinstance(item, Row) else [item]
        if known:
            yield known

    def _may_go_on(self) -> bool:
        has_room = self._unsettled < self._window and self._held < _MOST_HELD
        return has_room or self._is_stopped

    def _has_room(self) -> bool:
        # After a death, rows that may have caused it go alone.
        is_calm = not self._suspects and not any(sent.deaths for sent in self._sent.values())
        return self._is_stopped or (is_calm and len(self._sent) < self._concurrency)

    def _register(self, sent: _Sent) -> str:
        """The id of its request. From now on it counts as being with the engine."""
        with self._changed:
            self._requests_sent += 1
            id_ = f"{self._prefix}-{self._requests_sent}"
            self._sent[id_] = sent
            self._changed.notify_all()
        return id_

    def _submit(self, id_: str, sent: _Sent) -> None:
        client = self._client
        assert client is not None
        try:
            client.submit(self._requests.request(sent.row, id_, sent.further))
        except LocalchatError as error:
            self._end(id_, sent, Finished(sent.row, failure(type(error).__name__, str(error))))
        except OSError:
            if client is self._client:  # else it died meanwhile, and the row is sent again
                raise

    # the thread that receives

    def _receive(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._sent or self._is_fed or self._is_stopped)
                client = self._client
                if not self._sent:
                    break
            assert client is not None
            try:
                for event in client.events():
                    self._take(event)
                if self._is_stopped:
                    break
            except EngineDied as error:
                if self._is_stopped:
                    break
                self._revive(client, error)
        if not self._is_stopped:
            self.results.put(End())

    def _take(self, event: Event) -> None:
        sent = self._sent.get(event.request_id)
        if sent is None:
            return
        if not isinstance(event, LAST_EVENTS):
            sent.answer.add(event)
            return
        row = sent.row
        match event:
            case EngineFinished(finish_reason="cancelled"):
                self._end(event.request_id, sent, None)
            case EngineFinished():
                try:
                    outcome = sent.answer.finished(event, self._form)
                except Unfit as unfit:
                    self._ask_again(event.request_id, sent, unfit)
                else:
                    self._end(event.request_id, sent, Finished(row, outcome))
            case Scored():
                outcome = sent.answer.scored(event, self._choices)
                self._end(event.request_id, sent, Finished(row, outcome))
            case Failed():
                if event.kind == InvalidGrammar.__name__ and self._form is not None:
                    raise from_kind(event.kind, event.message, event.hint)  # none can be answered
                self._end(event.request_id, sent, Finished(row, sent.answer.failed(event)))

    def _end(self, id_: str, sent: _Sent, finished: Finished | None) -> None:
        with self._changed:
            del self._sent[id_]
            self._killers = 0
            following = self._next_suspect()
            self._changed.notify_all()
        if finished is not None:
            self.results.put([finished])
        if following is not None:
            self._submit(*following)

    def _ask_again(self, id_: str, sent: _Sent, unfit: Unfit) -> None:
        """Once, with what was wrong."""
        if sent.further:
            why = f"The answer has not the form asked for, not even the second time. {unfit}"
            outcome = failure("WrongForm", why, unfit.usage)
            self._end(id_, sent, Finished(sent.row, outcome))
            return
        sent.answer = Answer(unfit.usage)
        sent.further = (
            Message("assistant", unfit.text or "…"),
            Message("user", f"This can't be used. {unfit} Answer again, with valid JSON, briefly."),
        )
        with self._changed:
            del self._sent[id_]
            id_ = self._register(sent)
        self._submit(id_, sent)

    def _next_suspect(self) -> tuple[str, _Sent] | None:
        if not self._suspects:
            return None
        sent = self._suspects.popleft()
        return self._register(sent), sent

    def _revive(self, client: EngineClient, error: EngineDied) -> None:
        """Starts an engine anew, and sends again, one by one, what was with the dead one."""
        client.close()
        with self._changed:
            lost, self._sent = list(self._sent.values()), {}
            killer = lost[0] if len(lost) == 1 and lost[0].deaths else None
            for sent in lost:
                sent.deaths += 1
                sent.answer = Answer()
                sent.further = ()
            if killer is None:
                self._suspects.extendleft(reversed(lost))
            self._killers += killer is not None
        if self._killers >= _MOST_KILLERS:
            raise error
        if killer is not None:
            why = "The engine died over this row, twice."
            self.results.put([Finished(killer.row, failure("KilledEngine", why))])
        revived = self._open_engine()
        with self._changed:
            self._client = revived
            following = self._next_suspect()
            self._changed.notify_all()
        if following is not None:
            self._submit(*following)
