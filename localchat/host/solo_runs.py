"""Which requests had the engine to themselves: their speeds are the model's own."""

from __future__ import annotations

from collections.abc import Callable

from localchat.errors import LocalchatError
from localchat.events import Event, Finished
from localchat.speeds import Recorder
from localchat.types import GenerationRequest


class SoloRuns:
    """Follows requests from their arrival to their end, for a recorder."""

    def __init__(self, recorder: Recorder, log: Callable[[str], None]) -> None:
        self._recorder = recorder
        self._log = log
        self._alone: str | None = None

    def arrived(self, request: GenerationRequest, *, others: bool) -> None:
        """`others`: whether requests are running already; from now on they share their steps."""
        alone = not others and request.priority == "interactive" and request.params.n == 1
        self._alone = request.id if alone else None

    def ended(self, event: Event) -> None:
        """The last event of a request."""
        if isinstance(event, Finished) and event.request_id == self._alone:
            self._recorder.add(event.usage, event.timings)

    def save(self) -> None:
        """Writes what is new, if anything is: for when no request runs. Failing is logged."""
        if not self._recorder.has_unsaved:
            return
        try:
            self._recorder.save()
        except (OSError, LocalchatError) as error:
            self._log(f"the speed of a reply was not kept: {error}")
