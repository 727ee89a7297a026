"""Writes snapshots beside the engine's own work."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass

from localchat.engine.snapshots import Buffer, SnapshotStore


@dataclass(frozen=True, slots=True)
class _Job:
    tokens: list[int]
    state: Buffer
    conversation: str | None


class BackgroundWriter:
    """Hands states to a store in a thread of its own, in the order they come."""

    def __init__(self, store: SnapshotStore, *, memory: int = 2**28) -> None:
        """`memory`: bytes of states held at most. The newest is always taken, so together with
        the one being written it may be more."""
        self._store = store
        self._memory = memory
        self._waiting: deque[_Job] = deque()
        self._in_hand: _Job | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def submit(self, tokens: list[int], state: Buffer, *, conversation: str | None = None) -> None:
        """Has `store.write` called soon. Never waits; where memory runs out the oldest is dropped.

        The state must not be changed afterwards.
        """
        with self._changed:
            self._waiting.append(_Job(tokens, state, conversation))
            while len(self._waiting) > 1 and self._held() > self._memory:
                self._waiting.popleft()
            if self._thread is None:
                # A daemon: a slow disk must not keep the process from leaving.
                self._thread = threading.Thread(target=self._run, name="snapshots", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def drain(self, timeout_seconds: float) -> bool:
        """Waits until all is written; False if that took too long."""
        deadline = time.monotonic() + timeout_seconds
        with self._changed:
            while self._waiting or self._in_hand:
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(left)
        return True

    def _held(self) -> int:
        in_hand = [self._in_hand] if self._in_hand else []
        return sum(len(job.state) for job in (*in_hand, *self._waiting))

    def _run(self) -> None:
        while True:
            with self._changed:
                self._in_hand = None
                self._changed.notify_all()
                while not self._waiting:
                    self._changed.wait()
                self._in_hand = self._waiting.popleft()
            job = self._in_hand
            self._store.write(job.tokens, job.state, conversation=job.conversation)
            del job
