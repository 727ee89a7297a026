"""An application with nothing but a prompt, which keeps what the prompt posts."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from textual.app import App, ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.pilot import Pilot

from localchat.tui.widgets.prompt.commands import Command
from localchat.tui.widgets.prompt.prompt import Prompt

COMMANDS = (
    Command("export", "[file]", "Write the conversation to a file"),
    Command("fork", "", "Go on in a copy"),
    Command("model", "<name>", "Switch the model"),
    Command("theme", "<name>", "Choose the colours"),
)
CANDIDATES = {"theme": ("gruvbox", "nord", "textual-dark")}

Posted = TypeVar("Posted", bound=Message)


class PromptApp(App[None]):
    CSS = "Vertical#above { height: 1fr; }"

    def __init__(self, root: Path = Path()) -> None:
        super().__init__()
        self.animation_level = "none"
        self.prompt = Prompt(root=root, id="prompt")
        self.prompt.commands = COMMANDS
        self.prompt.candidates = CANDIDATES
        self._posted: list[Message] = []

    def compose(self) -> ComposeResult:
        yield Vertical(id="above")
        yield self.prompt

    def on_mount(self) -> None:
        self.prompt.focus()

    def posted(self, kind: type[Posted]) -> list[Posted]:
        """The prompt's messages of a kind, the oldest first."""
        return [message for message in self._posted if isinstance(message, kind)]

    def on_prompt_submitted(self, message: Prompt.Submitted) -> None:
        self._posted.append(message)

    def on_prompt_command_given(self, message: Prompt.CommandGiven) -> None:
        self._posted.append(message)

    def on_prompt_changed(self, message: Prompt.Changed) -> None:
        self._posted.append(message)

    def on_prompt_editor_asked(self, message: Prompt.EditorAsked) -> None:
        self._posted.append(message)

    @property
    def complaint(self) -> str:
        """The sentence that is shown; empty if none is."""
        trouble = self.prompt.query_one("#prompt-trouble")
        return str(trouble.render()) if trouble.display else ""

    @property
    def hints(self) -> str:
        return str(self.prompt.border_subtitle or "")


async def type_in(pilot: Pilot[None], text: str) -> None:
    """Presses the keys of `text`; newlines by Ctrl+J."""
    await pilot.press(*("ctrl+j" if letter == "\n" else letter for letter in text))
