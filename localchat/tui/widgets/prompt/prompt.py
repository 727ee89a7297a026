"""The prompt: a frame that grows with its text, a line of hints in it, and what Enter does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from textual import events, on
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import Static, TextArea

from localchat.errors import InputError
from localchat.sanitize import clean
from localchat.session.attachments import fenced, read_file, together
from localchat.tui.widgets.prompt import hints
from localchat.tui.widgets.prompt.area import PromptArea
from localchat.tui.widgets.prompt.chips import Chips, tidy
from localchat.tui.widgets.prompt.commands import Command, literal, parse, unknown
from localchat.tui.widgets.prompt.completer import Completer
from localchat.tui.widgets.prompt.recall import Recall

if TYPE_CHECKING:
    from localchat.tui.widgets.prompt.completions import Completions

_MOST_BYTES = 4 << 20  # of a file; no model's context holds as much
_MOST_TYPED = 100  # sent prompts whose typed form is known


class Prompt(Vertical):
    """Posts what is to be sent and gets back what did not work."""

    DEFAULT_CSS = """
    Prompt {
        height: auto;
        padding: 0 1;
        border: round $foreground 30%;
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

    def __init__(
        self,
        *,
        root: Path = Path(),
        placeholder: str = "Ask anything",
        id: str | None = None,  # noqa: A002
    ) -> None:
        """`root`: the folder whose files are offered."""
        super().__init__(id=id)
        self._history: list[str] = []
        self._recall = Recall()
        self._typed: dict[str, str] = {}
        self._chips = Chips(root)
        self._reading = asyncio.Lock()
        self._area = PromptArea(self, self._chips, placeholder)
        self._completer = Completer(self, self._area, self._chips, root)
        self._trouble = Static(id="prompt-trouble", markup=False)
        self._complaint = ""
        self._hinted: object = None  # what the hint was made for

    def compose(self) -> ComposeResult:
        yield self._area
        yield self._trouble

    # what the screen gives and asks

    @property
    def commands(self) -> Sequence[Command]:
        """What may follow a slash: name, argument and meaning, in the order to offer them."""
        return self._completer.commands

    @commands.setter
    def commands(self, commands: Iterable[tuple[str, str, str]]) -> None:
        self._completer.commands = [Command(*command) for command in commands]

    @property
    def candidates(self) -> Mapping[str, Sequence[str]]:
        """Arguments to offer, by the name of the command."""
        return self._completer.candidates

    @candidates.setter
    def candidates(self, candidates: Mapping[str, Sequence[str]]) -> None:
        self._completer.candidates = candidates

    @property
    def text(self) -> str:
        """What is typed, with all that was pasted; files are names in it."""
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
        """Replaces what is typed. What was sent from here comes back as it was typed."""
        self._recall = Recall(self._history)
        self._show(text)
        self.complain("")

    def attach(self, path: Path) -> None:
        """Adds a file to what is typed; it is read when that is sent."""
        self._area.put(f"{self._chips.attach(path)} ")

    def complain(self, sentence: str) -> None:
        """Shows a sentence until the text changes; an empty one hides it."""
        if sentence != self._complaint:  # every key says that there is none: no layout for that
            self._complaint = sentence
            self._trouble.update(Content(clean(sentence)))
            self._trouble.display = bool(sentence)

    def focus(self, scroll_visible: bool = True) -> Prompt:
        self._area.focus(scroll_visible)
        return self

    def _show(self, text: str, *, at_start: bool = False) -> None:
        text = self._typed.get(text, text)
        self._area.load_text(self._chips.refold(tidy(text)))
        if not at_start:
            self._area.move_cursor(self._area.document.end)
        self._completer.close()
        self._completer.adopt(text)

    # what the area asks

    @property
    def is_listing(self) -> bool:
        return self._completer.is_open

    def send(self) -> None:
        if self._completer.accept(is_enter=True):
            return
        shown = self._area.text
        text = self._chips.expand(shown).strip("\n").rstrip()
        if not text:
            return
        if given := parse(text):
            self._give(given.name, given.argument)
        elif self.is_busy:
            self.complain("A reply is being written. Esc stops it, then Enter sends.")
        else:
            files = self._chips.attached(shown)
            self._empty()
            self.run_worker(self._submit(literal(text), shown, files))

    def step(self, by: int) -> bool:
        if self._completer.move(by):
            return True
        typed = self.text
        found = self._recall.older(typed) if by < 0 else self._recall.newer(typed)
        if found is None:
            return False
        self._show(found, at_start=by < 0 and "\n" in found)
        return True

    def complete(self) -> bool:
        return self._completer.accept(is_enter=False)

    def close_list(self) -> bool:
        return self._completer.dismiss()

    def ask_for_editor(self) -> None:
        self.post_message(self.EditorAsked(self.text))

    def complain_of_length(self) -> None:
        key = self._keys().get("prompt.editor")
        way = f": {key} opens it in the editor." if key else "."
        self.complain(f"That is too long to show here{way}")

    def edited(self) -> None:
        self.complain("")
        self._completer.adopt(self._area.document[self._area.cursor_location[0]])
        self._completer.follow()

    # sending

    async def _submit(self, text: str, shown: str, files: Sequence[Path]) -> None:
        try:
            async with self._reading:  # so that prompts keep their order
                parts = [await asyncio.to_thread(_enclosed, path) for path in files]
        except InputError as error:
            typed = self._area.text
            self.load("\n".join(part for part in (self._chips.expand(shown), typed) if part))
            self.complain(str(error))
            return
        whole = together([*parts, text])
        self._remember(whole, self._chips.expand(shown))
        self.post_message(self.Submitted(whole, shown))

    def _give(self, name: str, argument: str) -> None:
        names = [command.name for command in self._completer.commands]
        if name in names:
            typed = self.text
            self._empty()
            self._remember(typed, typed)
            self.post_message(self.CommandGiven(name, argument))
        else:
            self.complain(unknown(name, names))

    def _empty(self) -> None:
        self.load("")
        self._chips.shed()

    def _remember(self, sent: str, typed: str) -> None:
        if not self._history or self._history[-1] != sent:
            self._history.append(sent)
        self._recall = Recall(self._history)
        if sent != typed:
            self._typed[sent] = typed
            if len(self._typed) > _MOST_TYPED:
                del self._typed[next(iter(self._typed))]

    # what happens

    def _hint(self) -> None:
        text = self._area.text
        if self.is_listing:
            wants = hints.CHOOSING
        elif self.is_busy:
            wants = hints.BUSY
        elif not text:
            wants = hints.EMPTY
        else:
            wants = hints.FOLDED if self._chips.expand(text) != text else hints.WRITING
        place = (wants, self.size.width, self.has_focus_within)
        if place == self._hinted:  # Textual looks all keys up anew, each time that it is asked
            return
        self._hinted = place
        keys = self._keys()
        line = hints.fitting(wants, keys, self.size.width - 2) if keys else ""
        self.border_subtitle = Content(line)

    def _keys(self) -> Mapping[str, str]:
        """The key of each binding id while the prompt has the focus."""
        bound = self.screen.active_bindings.items() if self.has_focus_within else ()
        return hints.keys_by_id((key, active.binding.id) for key, active in bound)

    def watch_is_busy(self) -> None:
        if self.is_mounted:
            self._hint()

    @on(events.Resize)
    def _resized(self) -> None:
        self._hint()
        self._completer.place()

    @on(events.DescendantFocus)
    def _focused(self) -> None:
        self._hint()

    @on(events.DescendantBlur)
    def _blurred(self) -> None:
        self._completer.close()
        self._hint()

    @on(TextArea.Changed)
    def _changed(self, event: TextArea.Changed) -> None:
        event.stop()
        self._hint()
        self.post_message(self.Changed(self.text))

    @on(TextArea.SelectionChanged)
    def _moved(self, event: TextArea.SelectionChanged) -> None:
        event.stop()
        if self.is_listing:
            self._completer.follow()

    def on_completions_found(self, event: Completions.Found) -> None:
        event.stop()
        self._completer.know(event.paths)

    def on_completions_chosen(self, event: Completions.Chosen) -> None:
        event.stop()
        if not self._completer.accept(is_enter=True):
            self.send()

    def on_completions_turned(self, event: Completions.Turned) -> None:
        event.stop()
        self._hint()


def _enclosed(path: Path) -> str:
    return fenced(path.name, read_file(path, _MOST_BYTES))
