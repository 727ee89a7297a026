"""What fills the context: what each message costs, and the prompt that the model really sees."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.events import Resize
from textual.screen import ModalScreen
from textual.widgets import Static

from localchat.tui.chats.context import ContextUse
from localchat.tui.widgets.context_use import Costs, Meter
from localchat.tui.widgets.prompt_text import PromptText
from localchat.tui.widgets.transcript.asked import CopyAsked

_ROOMY = (70, 24)  # cells and lines, below which the panel fills the screen
_COSTS = "tab what the model sees   c copy it   esc close"
_PROMPT = "tab what each message costs   c copy it   esc close"


class ContextScreen(ModalScreen[None]):
    """Posts `CopyAsked`. Esc ends it."""

    DEFAULT_CSS = """
    ContextScreen {
        align: center middle;
        & > Vertical {
            width: 88;
            max-width: 100%;
            height: 90%;
            max-height: 44;
            background: $surface;
            padding: 1 0;
        }
        #title {
            padding: 0 2;
            margin-bottom: 1;
            text-style: bold;
        }
        Lines { margin-top: 1; }
        #note {
            padding: 0 2;
            margin-top: 1;
            height: auto;
            color: $text-muted;
            &.-wrong { color: $text-warning; }
        }
        #keys {
            padding: 0 2;
            margin-top: 1;
            height: 1;
            color: $text-disabled;
        }
        &.-small {
            & > Vertical {
                height: 100%;
                max-height: 100%;
                padding: 0;
            }
            #title, #note, #keys { margin: 0; }
        }
        &:ansi > Vertical { background: ansi_default; }
        &:ansi #note, &:ansi #keys { color: ansi_default; text-style: dim; }
        &:ansi #note.-wrong { text-style: bold; }
    }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f3,q", "dismiss", "Close", id="context.close"),
        Binding("tab,shift+tab", "switch", "Costs or prompt", id="context.switch"),
        Binding("c,y", "copy", "Copy the prompt", id="context.copy"),
    ]

    def __init__(self, use: ContextUse) -> None:
        super().__init__()
        self._use = use
        self._shows_prompt = False

    def compose(self) -> ComposeResult:
        with Vertical():
            yield Static(id="title", markup=False)
            yield Meter(self._use)
            yield Static(id="note", markup=False)
            yield Costs(self._use)
            yield PromptText(self._use)
            yield Static(id="keys", markup=False)

    def on_mount(self) -> None:
        self._show()

    def on_resize(self, event: Resize) -> None:
        width, height = _ROOMY
        self.set_class(event.size.width < width or event.size.height < height, "-small")

    def action_switch(self) -> None:
        self._shows_prompt = not self._shows_prompt
        self._show()

    def action_copy(self) -> None:
        self.post_message(CopyAsked(self._use.prompt, "the prompt"))

    def _show(self) -> None:
        self.query_one(PromptText).display = self._shows_prompt
        self.query_one(Costs).display = not self._shows_prompt
        title = "What the model sees" if self._shows_prompt else "What fills the context"
        self.query_one("#title", Static).update(Content(title))
        self.query_one("#keys", Static).update(Content(_PROMPT if self._shows_prompt else _COSTS))
        note = self.query_one("#note", Static)
        note.update(Content(self._note()))
        note.display = bool(self._note())
        note.set_class(not self._shows_prompt, "-wrong")

    def _note(self) -> str:
        use = self._use
        if self._shows_prompt:
            return "Bold is what the template adds; the rest was said." if use.said else ""
        if use.is_too_long:
            return "The conversation is longer than the context: it can't be answered."
        dropped = sum(cost.is_dropped for cost in use.costs)
        if not dropped:
            return ""
        what = "1 message" if dropped == 1 else f"{dropped} messages"
        become = "summarised" if use.is_summarised else "left out"
        return f"{what} would be {become}: the conversation is too long."
