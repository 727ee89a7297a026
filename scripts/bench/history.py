"""What does keeping a conversation cost a one-shot command? See README.md beside this file."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from common import Report, Setup, alternate, parser, prepare
from one_shot import ask_command, overhead

from localchat.store.records import NewConversation, NewMessage
from localchat.store.store import Store

_MESSAGES = 100_000
_PER_CONVERSATION = 40
_WORDS = (10, 120)  # of a message
_GOAL = 20.0  # ms that a full history may add
_WARM_GOAL = 150  # ms, of a command in all


def main() -> None:
    arguments = parser("one-shot commands beside a long history", rounds=20).parse_args()
    with prepare(arguments) as setup:
        os.environ["LOCALCHAT_THREADS"] = str(setup.threads)
        report = Report("history", setup)
        histories = Histories(setup)
        command = ask_command(arguments.model)

        def measure(history: str, *flags: str) -> Callable[[], float]:
            def one() -> float:
                histories.use(history)
                return overhead([*command, *flags])

            return one

        measures = {
            "nothing kept": measure("short", "--no-log"),
            "a short history": measure("short"),
            "a full history": measure("full"),
            "going on in it": measure("full", "-c"),
        }
        histories.use("short")
        subprocess.run([*command, "--max-tokens", "1", "Hello"], check=True, capture_output=True)
        values = alternate(setup.rounds, measures, "ms")
        medians = {name: report.add_rounds(name, values[name], "ms").median for name in values}
        report.add_value("keeping", medians["a short history"] - medians["nothing kept"], "ms")
        added = medians["a full history"] - medians["a short history"]
        report.add_goal("a full history adds, ms", added, f"at most {_GOAL:g}", met=added <= _GOAL)
        whole = medians["a full history"]
        report.add_goal("overhead, ms", whole, f"at most {_WARM_GOAL}", met=whole <= _WARM_GOAL)
        report.save()


class Histories:
    """Two histories, of which one is in its place."""

    def __init__(self, setup: Setup) -> None:
        self._data = setup.paths.data
        self._kept = self._data.parent / "histories"
        self._current = "full"
        self._data.mkdir(parents=True, exist_ok=True)
        for name in ("short", "full"):
            (self._kept / name).mkdir(parents=True)
        start = time.monotonic()
        with Store.open(setup.paths) as store:
            _fill(store)
        seconds = time.monotonic() - start
        size = setup.paths.history.stat().st_size / 1e6
        print(f"{_MESSAGES:,} messages, {size:.0f} MB, after {seconds:.1f} s", file=sys.stderr)

    def use(self, name: str) -> None:
        """Puts the history of that name in its place, and the other one aside."""
        if name == self._current:
            return
        _move(self._data, self._kept / self._current)
        _move(self._kept / name, self._data)
        self._current = name


def _move(source: Path, target: Path) -> None:
    for path in source.glob("history.*"):
        shutil.move(path, target / path.name)


def _fill(store: Store) -> None:
    draw = random.Random(1)
    words = [
        "".join(draw.choices("aeioubdfgklmnprst", k=draw.randint(2, 9))) for _ in range(20_000)
    ]

    def text() -> str:
        # As in a language, a few words are frequent and most are rare.
        picked = (words[int(len(words) * draw.random() ** 4)] for _ in range(draw.randint(*_WORDS)))
        return " ".join(picked)

    made = []
    for number in range(_MESSAGES // _PER_CONVERSATION):
        messages = tuple(
            NewMessage("assistant" if place % 2 else "user", text(), place - 1 if place else None)
            for place in range(_PER_CONVERSATION)
        )
        made.append(NewConversation(messages, created=1.6e9 + number))
        if len(made) == 250:
            store.add(made)
            made = []
    store.add(made)


if __name__ == "__main__":
    main()
