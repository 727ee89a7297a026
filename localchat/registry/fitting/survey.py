"""All models as they fit this machine now, for whoever shows them."""

from __future__ import annotations

from collections.abc import Callable

from localchat.config import Settings
from localchat.paths import Paths
from localchat.registry.fitting import capacity, contenders, ranking
from localchat.registry.fitting.candidates import Candidate
from localchat.registry.fitting.capacity import Capacity
from localchat.registry.fitting.ranking import Fit


def survey(
    settings: Settings,
    places: Paths,
    context: int | None = None,
    named: Callable[[], list[Candidate]] | None = None,
) -> tuple[Capacity, list[Fit]]:
    """What the machine has, and the models, best first: all that there are, or those of `named`.

    `context`: tokens; None: `ranking.CONTEXT`. Uses the network only if `named` does.
    Raises ConfigError for a manifest that is not valid, and what `named` raises.
    """
    with capacity.Devices(wanted=settings.gpu_layers != 0) as devices:
        # While llama.cpp answers, in a process of its own.
        found = contenders.contenders(places) if named is None else named()
        here = capacity.find(places, devices, settings.threads)
    question = ranking.question(settings, context)
    return here, ranking.rank(found, here, question, places.speeds)
