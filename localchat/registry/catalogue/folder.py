"""Where the manifests are: apart from `catalog`, which brings pydantic."""

from __future__ import annotations

from pathlib import Path

PACKAGED = Path(__file__).parents[2] / "models"
CHECKOUT = Path(__file__).parents[3] / "models"


def folder() -> Path:
    """In the installed package, else beside it in a checkout.

    In this order, because beside an installed package lie other projects' folders.
    """
    return PACKAGED if any(PACKAGED.glob("*.toml")) else CHECKOUT
