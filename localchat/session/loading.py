"""From settings to what an engine is started with."""

from __future__ import annotations

from localchat.config import Settings
from localchat.paths import Paths
from localchat.types import LoadOptions


def load_options(settings: Settings, places: Paths) -> LoadOptions:
    """What an engine is started with. Raises what finding the draft model raises."""
    from localchat.registry.resolve import resolve

    return LoadOptions(
        context=0 if settings.context == "auto" else settings.context,
        kv_type=settings.kv_type,
        gpu_layers=-1 if settings.gpu_layers == "auto" else settings.gpu_layers,
        threads=settings.threads,
        parallel=settings.parallel,
        draft=resolve(settings.draft, places).path if settings.draft else None,
        snapshot_budget=settings.snapshot_budget,
    )
