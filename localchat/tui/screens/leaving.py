"""How a part of the screen that is left ends what it still does."""

from __future__ import annotations

from textual.messages import Prune
from textual.widget import Widget


class EndsWorkers(Widget):
    """A part whose workers end before the parts in it go: they would look for them."""

    async def on_prune(self, event: Prune) -> None:
        """Textual calls `Widget.on_prune`, which removes the parts, after this one."""
        self.workers.cancel_node(self)
