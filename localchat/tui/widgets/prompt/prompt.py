"""The prompt: a frame that grows with its text, a line of hints in it, and what Enter does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from textual import on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static, TextArea

from localchat.sanitize import clean
from localchat.tui.widgets.prompt.area import PromptArea
from localchat.tui.widgets.prompt.chips import Chips, tidy
from localchat.tui.widgets.prompt.commands import Command, literal, parse, unknown
from localchat.tui.widgets.prompt.hints import hint_line, keys_by_id
from localchat.tui.widgets.prompt.recall import Recall

_EMPTY = (
    ("prompt.send", "sends"),
    ("prompt.newline", "new line"),
    ("/", "commands"),
    ("@", "files"),
)
_WRITING = (
    ("prompt.send", "sends"),
    ("prompt.newline", "new line"),
    ("prompt.editor", "editor"),
)
_BUSY = (("Esc", "stops the reply"), ("prompt.newline", "new line"))


class Prompt(Vertical):
    """Posts what is to be sent and gets back what did not work."""

    DEFAULT_CSS = """
    Prompt {
        height: auto;
        padding: 0 1;
        border: round $border-blurred;
        border-subtitle-color: $text-muted;
        border-subtitle-align: right;
        &:focus-within {
            border: round $border;
        }
    }
    Prompt > #prompt-trouble {
        height: auto;
        color: $text-warning;
        display: none;
    }
    """

    is_busy: reactive[bool] = reactive(False)
    """Whether a reply is being written: Enter keeps the text until it ends."""

    @dataclass
    class Submitted(Message):
        """The user wants this sent; the prompt is empty again."""

        text: str
        """All of it: what was pasted, and files before it."""
        shown: str
        """As it was typed, with chips."""

    @dataclass
    class CommandGiven(Message):
        """A command that there is, with what follows it."""

        name: str
        argument: str

    @dataclass
    class Changed(Message):
        """The text is another one."""

        text: str
        """With all that was pasted."""

    @dataclass
    class EditorAsked(Message):
        """The text is to be written on in the user's editor; give it back with `load`."""

        text: str

    def __init__(self, *, id: str | None = None, placeholder: str = "Ask anything") -> None:  # noqa: A002
        super().__init__(id=id)
        self.commands: Sequence[Command] = ()
        self.candidates: Mapping[str, Sequence[str]] = {}
        """Arguments to offer, by the name of the command."""
        self._history: list[str] = []
        self._recall = Recall()
        self._chips = Chips()
        self._area = PromptArea(self, self._chips, placeholder)
        self._trouble = Static(id="prompt-trouble", markup=False)

    def compose(self) -> ComposeResult:
        yield self._area
        yield self._trouble

    # what the screen gives and asks

    @property
    def text(self) -> str:
        """What is typed, with all that was pasted."""
        return self._chips.expand(self._area.text)

    @property
    def history(self) -> Sequence[str]:
        """Earlier prompts for Up and Down, the newest last; what is sent here is added."""
        return self._history

    @history.setter
    def history(self, earlier: Iterable[str]) -> None:
        self._history = list(earlier)
        self._recall = Recall(self._history)

    def load(self, text: str) -> None:
        """Replaces what is typed; what is long in it becomes a chip."""
        self._recall = Recall(self._history)
        self._show(text)
        self.complain("")

    def complain(self, sentence: str) -> None:
        """Shows a sentence until the text changes; an empty one hides it."""
        self._trouble.update(Content(clean(sentence)))
        self._trouble.display = bool(sentence)

    def focus(self, scroll_visible: bool = True) -> Prompt:
        self._area.focus(scroll_visible)
        return self

    def _show(self, text: str, *, at_start: bool = False) -> None:
        self._area.load_text(self._chips.refold(tidy(text)))
        if not at_start:
            self._area.move_cursor(self._area.document.end)

    # what the area asks

    @property
    def is_listing(self) -> bool:
        return False

    def send(self) -> None:
        shown = self._area.text
        text = self._chips.expand(shown).strip("\n").rstrip()
        if not text:
            return
        if given := parse(text):
            self._give(given.name, given.argument, shown)
        elif self.is_busy:
            self.complain("A reply is being written. Esc stops it, then Enter sends.")
        else:
            self._sent(shown)
            self.post_message(self.Submitted(literal(text), shown))

    def step(self, by: int) -> bool:
        typed = self.text
        found = self._recall.older(typed) if by < 0 else self._recall.newer(typed)
        if found is None:
            return False
        self._show(found, at_start=by < 0 and "\n" in found)
        return True

    def complete(self) -> bool:
        return False

    def close_list(self) -> bool:
        return False

    def ask_for_editor(self) -> None:
        self.post_message(self.EditorAsked(self.text))

    def edited(self) -> None:
        self.complain("")

    def _give(self, name: str, argument: str, shown: str) -> None:
        names = [command.name for command in self.commands]
        if name in names:
            self._sent(shown)
            self.post_message(self.CommandGiven(name, argument))
        else:
            self.complain(unknown(name, names))

    def _hint(self) -> None:
        hints = _BUSY if self.is_busy else _WRITING if self._area.text else _EMPTY
        bound = self.screen.active_bindings.items() if self.has_focus_within else ()
        keys = keys_by_id((key, active.binding.id) for key, active in bound)
        room = self.size.width - 2
        line = hint_line(hints, keys, room) if keys else ""
        self.border_subtitle = Content(line)

    def _on_resize(self) -> None:
        self._hint()

    def _on_descendant_focus(self) -> None:
        self._hint()

    def _on_descendant_blur(self) -> None:
        self._hint()

    def watch_is_busy(self) -> None:
        if self.is_mounted:
            self._hint()

    def _sent(self, shown: str) -> None:
        text = self._chips.expand(shown)
        if not self._history or self._history[-1] != text:
            self._history.append(text)
        self.load("")

    @on(TextArea.Changed)
    def _changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self._hint()
        self.post_message(self.Changed(self.text))
