"""Which presets there are, and whose file is used."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from localchat.errors import ConfigError, UsageError
from localchat.paths import Paths
from localchat.presets.folder import entries, find, write_own
from localchat.presets.preset import Preset

SAMPLING = ("greedy", "precise", "balanced", "creative")
ROLES = ("summarise", "translate", "explain-shell", "commit-message", "proofread")


def write(places: Paths, name: str, text: str) -> Path:
    return write_own(name, text.encode(), places)


def test_they_are_all_there_and_valid(places: Paths) -> None:
    found = {entry.name: entry.preset() for entry in entries(places)}
    assert sorted(found) == sorted(SAMPLING + ROLES)
    assert all(preset.description for preset in found.values())
    assert {name for name, preset in found.items() if preset.system} == set(ROLES)
    assert {preset.model for preset in found.values()} == {None}


def test_each_works_without_parameters(places: Paths) -> None:
    for name in ROLES:
        preset = find(name, places).preset()
        assert not set("{}") & set(preset.instructions({}) or "{")
        assert preset.sampling["temperature"] <= 0.2


def test_they_go_from_the_likeliest_token_to_the_widest_choice(places: Paths) -> None:
    found = [find(name, places).preset().sampling["temperature"] for name in SAMPLING]
    assert found == sorted(set(found))
    assert found[0] == 0


def test_an_own_one_takes_a_shipped_ones_place(places: Paths) -> None:
    write(places, "greedy", "description = 'mine'")
    write(places, "poet", "")
    found = {entry.name: (entry.is_own, entry.is_shipped) for entry in entries(places)}
    assert found["greedy"] == (True, True)
    assert found["poet"] == (True, False)
    assert found["creative"] == (False, True)
    assert find("greedy", places).preset() == Preset("greedy", "mine")


def test_only_the_user_may_read_them(places: Paths) -> None:
    path = write(places, "poet", "")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_what_is_there_is_never_written_over(places: Paths) -> None:
    write(places, "poet", "# mine")
    with pytest.raises(FileExistsError):
        write(places, "poet", "")
    assert find("poet", places).read() == b"# mine"


def test_a_folder_that_lies_elsewhere_is_used(places: Paths, tmp_path: Path) -> None:
    (tmp_path / "dotfiles").mkdir()
    places.config.mkdir()
    places.presets.symlink_to(tmp_path / "dotfiles")
    write(places, "poet", "")
    assert find("poet", places).is_own
    assert (tmp_path / "dotfiles" / "poet.toml").exists()


def test_what_cannot_be_read_is_not_replaced_by_the_shipped_one(places: Paths) -> None:
    write(places, "poet", "").with_stem("greedy").symlink_to("nowhere")
    with pytest.raises(ConfigError, match=r"greedy.toml can't be read: No such file"):
        find("greedy", places).preset()


def test_files_of_other_names_are_left_alone(places: Paths) -> None:
    folder = write(places, "poet", "").parent
    for name in ("Poet.toml", "poet.toml~", ".poet.toml", "the poet.toml", "poet.txt"):
        (folder / name).touch()
    assert [entry.name for entry in entries(places) if entry.is_own] == ["poet"]


def test_an_unknown_name_brings_the_nearest(places: Paths) -> None:
    write(places, "poet", "")
    with pytest.raises(UsageError, match=r"^There is no preset 'poem'; perhaps 'poet' is me"):
        find("poem", places)
    with pytest.raises(UsageError, match=r"^There is no preset 'wild'\.$"):
        find("wild", places)


@pytest.mark.parametrize("name", ["", "../x", "a/b", "Poet", "-x", "x.toml", "x\n", "x" * 65])
def test_what_cannot_be_a_name_touches_no_file(places: Paths, name: str) -> None:
    for use in (lambda: find(name, places), lambda: write(places, name, "")):
        with pytest.raises(UsageError, match="can't be a preset"):
            use()
    assert not places.config.exists()
