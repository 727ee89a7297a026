"""A screen with nothing but a transcript, and conversations to show on it."""

from __future__ import annotations

from typing import Any

from textual import on
from textual.app import App, ComposeResult
from textual.message import Message
from textual.pilot import Pilot

from localchat.store.records import Generation, Provenance, State, StoredMessage
from localchat.tui.widgets.transcript import asked
from localchat.tui.widgets.transcript.transcript import Transcript
from localchat.types import FinishReason, Role, Usage

REPLY = """## Sorting

Use *sorted* with `key`, **always**:

```python
sorted(words, key=len)
```

1. It is stable.
2. It returns a list.
   - a new one

| what | cost |
|------|-----:|
| sort | n log n |

> Quoted.
"""


class TranscriptApp(App[None]):
    """Keeps what the transcript asks for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[Message] = []
        self.opened: list[str] = []

    def compose(self) -> ComposeResult:
        yield Transcript()

    @property
    def transcript(self) -> Transcript:
        return self.query_one(Transcript)

    @property
    def rows(self) -> list[str]:
        """What is on the screen."""
        sheet = self.transcript
        return [strip.text.rstrip() for strip in sheet.render_lines(sheet.size.region)]

    def open_url(self, url: str, *, new_tab: bool = True) -> None:
        self.opened.append(url)

    @on(asked.EditAsked)
    @on(asked.RegenerateAsked)
    @on(asked.ContinueAsked)
    @on(asked.SiblingAsked)
    @on(asked.DeleteAsked)
    @on(asked.BranchAsked)
    @on(asked.CopyAsked)
    @on(asked.LinkChosen)
    def keep(self, message: Message) -> None:
        self.asked.append(message)


def message(
    number: int,
    role: Role,
    content: str,
    reasoning: str = "",
    state: State = "complete",
    **more: Any,
) -> StoredMessage:
    values = {"parent": number - 1 or None, "created": 0.0, "conversation": "c"} | more
    return StoredMessage(
        id=number, role=role, content=content, reasoning=reasoning, state=state, **values
    )


def generation(
    finish_reason: FinishReason | None, error: str | None = None, **params: int
) -> Generation:
    provenance = Provenance("smollm2-135m", params=params)
    return Generation(provenance, finish_reason=finish_reason, error=error, usage=Usage(10, 0, 20))


def conversation(count: int, first: int = 1) -> list[StoredMessage]:
    """`count` messages, the texts of which differ."""
    return [
        message(number, "user", f"Question {number}?")
        if (number - first) % 2 == 0
        else message(number, "assistant", f"Answer {number}.\n\n{REPLY}" + "word " * (number % 90))
        for number in range(first, first + count)
    ]


async def settled(pilot: Pilot[None]) -> None:
    """Waits until nothing is left to do."""
    await pilot.pause()
    await pilot.wait_for_scheduled_animations()
