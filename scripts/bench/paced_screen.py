"""The chat screen on a client that gives a written reply at a fixed speed, in place of a model.

Run by tui.py, in a process of its own: paced_screen.py KIND DONE [CONVERSATION]. The file DONE is
made when the reply has ended.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from localchat import __version__, config, paths
from localchat.events import Event, Finished, TextDelta
from localchat.tui.chats.engines import Engine
from localchat.tui.chats.settings import configured
from localchat.tui.factory import make_app, run
from localchat.tui.start import Start
from localchat.types import EngineInfo, GenerationRequest, ModelRef, Timings, Usage

TOKENS = 4_000
SPEED = 150.0  # tokens/s
_CHARACTERS = 4  # of a token
_LOOK = 0.04  # seconds between deliveries: the engine process does the same

_PROSE = """Sorting is *stable* where equal elements keep their order, and that is what makes it
possible to sort by several keys, **the last one first**. With `key` a function is called once for
each element; what it returns is compared in place of the elements themselves.

"""
_CODE = '''def shortest(words: list[str], limit: int = 10) -> list[str]:
    """The `limit` shortest of `words`, the shortest first."""
    ranked = sorted(words, key=lambda word: (len(word), word))
    return [word for word in ranked if word][:limit]  # none of them empty


'''
_MIXED = f"""## How it is done

{_PROSE}1. Count the elements.
2. Compare *two* of them, and swap them where the order is wrong:
   - equal ones stay
   - so do those that are in order

```python
{_CODE.strip()}
```

| algorithm | best | worst |
|-----------|-----:|------:|
| merge sort | n log n | n log n |
| insertion sort | n | n^2 |

> Measure before you choose.

"""
TEXTS = {
    "prose": _PROSE * 80,
    "code": f"```python\n{_CODE * 80}",
    "mixed": _MIXED * 40,
}


class PacedClient:
    """Gives 4,000 tokens, 150 a second, whatever it is asked."""

    def __init__(self, text: str, done: Path) -> None:
        self.info = EngineInfo(__version__, os.getpid(), "paced", 8192, True, 0.0)
        self.is_gone = False
        self._text = text
        self._done = done
        self._request = ""

    def submit(self, request: GenerationRequest) -> None:
        self._request = request.id

    def cancel(self, request_id: str) -> None:
        """Nothing here is cancelled."""

    def events(self) -> Iterator[Event]:
        start = time.monotonic()
        given = 0
        while given < TOKENS:
            time.sleep(_LOOK)
            due = min(int((time.monotonic() - start) * SPEED), TOKENS)
            text = self._text[given * _CHARACTERS : due * _CHARACTERS]
            yield TextDelta(self._request, text, tokens=due - given)
            given = due
        self._done.touch()  # nobody asks for more after the last event
        yield Finished(self._request, "stop", Usage(10, 0, TOKENS), Timings(0.0, 0.0, 0.0), 0)

    def close(self) -> None:
        """Nothing is held."""


def main() -> None:
    kind, done, *conversation = sys.argv[1:]
    places = paths.find()
    settings = config.load(places)

    def open_engine(name: str) -> Engine:
        return Engine(PacedClient(TEXTS[kind], Path(done)), ModelRef(name, "/nowhere.gguf"))

    start = Start(conversation[0] if conversation else None)
    beginning = configured(settings, places)
    run(make_app(settings, places, beginning, start, open_engine=open_engine))


if __name__ == "__main__":
    main()
