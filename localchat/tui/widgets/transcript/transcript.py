"""The conversation on the screen, and the keys that act on its messages."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

from textual import events
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.timer import Timer

from localchat.tui.widgets.transcript import asked
from localchat.tui.widgets.transcript.pace import Pace
from localchat.tui.widgets.transcript.sheet import Sheet

if TYPE_CHECKING:
    from localchat.store.records import StoredMessage
    from localchat.tui.chats.live import Live
    from localchat.tui.widgets.transcript.turn import Turn

_SOON = 0.001  # seconds


class Transcript(Sheet, can_focus=True):
    """Shows messages, and a reply as it comes; see `asked` for what it posts."""

    DEFAULT_CSS = "Transcript { width: 1fr; }"

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "choose(-1)", "Message above", show=False, id="transcript.up"),
        Binding("down,j", "choose(1)", "Message below", show=False, id="transcript.down"),
        Binding("g,home", "first", "First message", show=False, id="transcript.first"),
        Binding("G,end", "last", "End, and follow it", show=False, id="transcript.last"),
        Binding("pageup", "page(-1)", "Page up", show=False, id="transcript.page_up"),
        Binding("pagedown,space", "page(1)", "Page down", show=False, id="transcript.page_down"),
        Binding("t,enter", "thinking", "Fold or unfold", id="transcript.thinking"),
        Binding("c,y", "copy", "Copy message", id="transcript.copy"),
        Binding("b", "copy_code", "Copy code", id="transcript.copy_code"),
        Binding("e", "edit", "Edit", id="transcript.edit"),
        Binding("r", "regenerate", "Regenerate", id="transcript.regenerate"),
        Binding("o", "continue", "Go on", id="transcript.continue"),
        Binding("left_square_bracket,left", "sibling(-1)", "Before", id="transcript.previous"),
        Binding("right_square_bracket,right", "sibling(1)", "Next", id="transcript.next"),
        Binding("d,delete", "delete", "Delete", id="transcript.delete"),
        Binding("B", "branch", "Branch", id="transcript.branch"),
    ]

    def __init__(self, id: str | None = None, classes: str | None = None) -> None:  # noqa: A002
        super().__init__(id=id, classes=classes)
        self._live: Live | None = None
        self._pace = Pace()
        self._timer: Timer | None = None
        self._is_updating = False
        self._code_copied: tuple[int, int] | None = None  # message, number of its code block

    def show(
        self,
        messages: Sequence[StoredMessage],
        alternatives: Mapping[int, Sequence[int]],
        live: Live | None,
    ) -> None:
        """Shows this conversation; what is shown of it already stays as it is.

        `alternatives`: of messages with siblings, the ids of all, oldest first. `live`: the reply
        that is being written, if one is.
        """
        known = {turn.id: turn for turn in self.turns}
        turns = []
        for message in messages:
            siblings = alternatives.get(message.id, ())
            if (turn := known.get(message.id)) is None:
                turn = _turn(message, siblings)
            elif message != turn.message and message.id == getattr(self._live, "reply", None):
                turn.thinking.stop()
            turn.update(message, siblings)
            turns.append(turn)
        if not any(turn.id in known for turn in turns):
            self.is_following = True
            self._has_more = False
        if self.chosen not in turns:
            self.chosen = None
        self._live = live
        if live is None:
            self._stop_timer()
        else:
            self._grow(turns, live)
        self.show_turns(turns)

    def stream(self, live: Live) -> None:
        """Shows what has come of a reply, now or, where that costs too much, a moment later."""
        self._live = live
        wait = self._pace.wait(time.monotonic())
        if self._is_updating or self._timer is not None:
            return
        if wait:
            self._timer = self.set_timer(wait, self._update)
        else:
            self._update()

    def _update(self) -> None:
        self._stop_timer()
        if self._live is None:
            return
        began, cpu = time.monotonic(), time.thread_time()
        self._is_updating = True
        self._grow(self.turns, self._live, draw=True)

        def drawn() -> None:
            self._is_updating = False
            self._pace.spent(began, time.thread_time() - cpu)
            if self._live is not None and self._timer is None:
                # Never 0: Textual divides by it when such a timer comes late.
                wait = max(self._pace.wait(time.monotonic()), _SOON)
                self._timer = self.set_timer(wait, self._catch_up)

        self.call_after_refresh(drawn)

    def _catch_up(self) -> None:
        """Draws what came while it was too early to draw."""
        self._stop_timer()
        live, turn = self._live, self._growing(self.turns)
        if live is not None and turn is not None and turn.is_behind(live.content, live.reasoning):
            self._update()

    def _growing(self, turns: Sequence[Turn]) -> Turn | None:
        live = self._live
        return next((turn for turn in turns if live is not None and turn.id == live.reply), None)

    def _grow(self, turns: Sequence[Turn], live: Live, *, draw: bool = False) -> None:
        turn = self._growing(turns)
        if turn is not None and turn.is_behind(live.content, live.reasoning):
            turn.grow(live.content, live.reasoning, live.tokens)
            if draw:
                self.redraw(turn)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.stop()
            self._timer = None

    def look_at(self, message_id: int) -> None:
        """Chooses a message and scrolls so that it begins at the top, as far as that can be."""
        turn = next((turn for turn in self.turns if turn.id == message_id), None)
        if turn is not None:
            self._choose(turn)
            self.go_to(turn, 1)

    # Keys

    def action_choose(self, step: int) -> None:
        """Chooses the message above or below; below the last one, none is chosen."""
        if not self.turns:
            return
        if self.chosen is None:
            at = len(self.turns) + min(step, 0)
        else:
            at = self.turns.index(self.chosen) + step
        if at >= len(self.turns):
            self._choose(None)
            self.follow()
        else:
            self._choose(self.turns[max(at, 0)])

    def _choose(self, turn: Turn | None) -> None:
        self.chosen = turn
        if turn is not None:
            self.make_visible(turn)
        self.refresh()

    def action_first(self) -> None:
        """Chooses the first message."""
        if self.turns:
            self._choose(self.turns[0])
            self.go_to(self.turns[0], 1)

    def action_last(self) -> None:
        """Shows the end, and follows it."""
        self.chosen = None
        self.follow()

    def action_page(self, step: int) -> None:
        """Scrolls by a page, less a line or two to read on from."""
        rows = max(self.scrollable_content_region.height - 2, 1)
        self.scroll_to(y=self.scroll_offset.y + step * rows, animate=False)

    def action_follow(self) -> None:
        """Shows the end, and follows it."""
        self.follow()

    def action_fold(self, message_id: int) -> None:
        """Folds or unfolds what is folded in a message."""
        turn = next((turn for turn in self.turns if turn.id == message_id), None)
        if turn is not None:
            turn.fold()
            self.redraw(turn)
            self.refresh()

    def action_thinking(self) -> None:
        """Folds or unfolds the thinking, or what else is folded, of the message at hand."""
        if (turn := self._at_hand()) is not None:
            self.action_fold(turn.id)

    def action_link(self, url: str) -> None:
        """A link was clicked."""
        self.post_message(asked.LinkChosen(url))

    def _at_hand(self) -> Turn | None:
        """The chosen message; else the last one."""
        return self.chosen or (self.turns[-1] if self.turns else None)

    def _reply_at_hand(self) -> Turn | None:
        """The message at hand if it is a reply; else the reply to it."""
        if (turn := self._at_hand()) is None:
            return None
        at = self.turns.index(turn)
        found = [each for each in self.turns[at : at + 2] if each.message.role == "assistant"]
        return found[0] if found else None

    def _ask(self, message: Callable[[int], Message], turn: Turn | None) -> None:
        if turn is not None:
            self.post_message(message(turn.id))

    def action_copy(self) -> None:
        """Asks to copy the message at hand, as Markdown."""
        if (turn := self._at_hand()) is not None:
            self.post_message(asked.CopyAsked(turn.content, "message"))

    def action_copy_code(self) -> None:
        """Asks to copy code: of several blocks the last one first, then the others in turn."""
        turn = self._at_hand()
        if turn is None or not (blocks := turn.code_blocks):
            return
        number = len(blocks) - 1
        if self._code_copied is not None and self._code_copied[0] == turn.id:
            number = (self._code_copied[1] + 1) % len(blocks)
        self._code_copied = (turn.id, number)
        what = f"code block {number + 1} of {len(blocks)}" if len(blocks) > 1 else "code block"
        self.post_message(asked.CopyAsked(blocks[number], what))

    def action_edit(self) -> None:
        """Asks to edit the message at hand."""
        self._ask(asked.EditAsked, self._at_hand())

    def action_regenerate(self) -> None:
        """Asks for the reply at hand once more."""
        self._ask(asked.RegenerateAsked, self._reply_at_hand())

    def action_continue(self) -> None:
        """Asks for more of the reply at hand."""
        self._ask(asked.ContinueAsked, self._reply_at_hand())

    def action_delete(self) -> None:
        """Asks to delete the message at hand."""
        self._ask(asked.DeleteAsked, self._at_hand())

    def action_branch(self) -> None:
        """Asks to go on from the message at hand in a branch of its own."""
        self._ask(asked.BranchAsked, self._at_hand())

    def action_sibling(self, step: int) -> None:
        """Asks for the message beside the one at hand."""
        turn = self._at_hand()
        if turn is None or turn.id not in turn.siblings:
            return
        at = turn.siblings.index(turn.id) + step
        if 0 <= at < len(turn.siblings):
            self.post_message(asked.SiblingAsked(turn.siblings[at]))

    # Mouse

    async def _on_click(self, event: events.Click) -> None:
        event.prevent_default()  # Textual selects all of a widget by a double click
        turn = self.turn_at(event.y)
        if turn is not None and event.chain == 2:
            self.select_turn(turn)
        elif turn is not None and not self.screen.selections:
            self._choose_clicked(turn)
        await self.broker_event("click", event)

    def _choose_clicked(self, turn: Turn) -> None:
        self.chosen = turn
        self.refresh()


def _turn(message: StoredMessage, siblings: Sequence[int]) -> Turn:
    # All that draws messages: a fifth of the imports for the first frame, which has none.
    from localchat.tui.widgets.transcript.turn import Turn

    return Turn(message, siblings)
