from __future__ import annotations

from collections.abc import Callable

import pytest

from localchat.paths import Paths
from localchat.presets.folder import find, write_own
from tests.cli.terminal import on_terminal

Run = Callable[..., tuple[int, str, str]]


def test_an_own_preset_is_removed_and_the_shipped_one_is_back(run: Run, places: Paths) -> None:
    for name in ("poet", "greedy"):
        write_own(name, b"what is no TOML is removed too", places)
    poet, greedy = places.presets / "poet.toml", places.presets / "greedy.toml"
    assert run("rm", "-y", "poet") == (0, "", f"Removed {poet}.\n")
    said = f"Removed {greedy}. The preset greedy is the shipped one again.\n"
    assert run("rm", "-y", "greedy") == (0, "", said)
    assert list(places.presets.iterdir()) == []
    assert not find("greedy", places).is_own


def test_a_shipped_one_is_not_removed(run: Run, places: Paths) -> None:
    code, _, err = run("rm", "-y", "greedy")
    assert code == 2
    assert err == (
        "Error: The preset greedy ships with localchat and can't be removed; yours can take its"
        " place.\nTry: localchat presets edit greedy\n"
    )
    assert find("greedy", places).path.exists()


def test_without_a_terminal_nothing_is_removed_unasked(run: Run, places: Paths) -> None:
    path = write_own("poet", b"", places)
    code, _, err = run("rm", "poet")
    assert (code, path.exists()) == (2, True)
    assert err.endswith("Try: localchat presets rm -y poet\n")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_on_a_terminal_it_is_asked_for(places: Paths) -> None:
    path = write_own("poet", b"", places)
    code, written = on_terminal("presets", "rm", "poet", answer=(b"[y/N]", b"n\n"))
    assert (code, path.exists()) == (0, True)
    assert f"Remove {path}? [y/N]: ".encode() in written
    assert b"Nothing was removed.\r\n" in written
    code, _ = on_terminal("presets", "rm", "poet", answer=(b"[y/N]", b"y\n"))
    assert (code, path.exists()) == (0, False)
