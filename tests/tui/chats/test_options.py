from __future__ import annotations

from dataclasses import replace

from localchat.paths import Paths
from localchat.presets.folder import write_own
from localchat.registry import installed
from localchat.registry.files.verify import Stamp
from localchat.registry.installed import Part, Record
from localchat.tui.chats.bounds import NUMBERS
from localchat.tui.chats.options import PresetOption, meanings, own_values, presets
from localchat.tui.chats.settings import NAMES


def test_presets(places: Paths) -> None:
    path = write_own("broken", b"x = 1", places)
    write_own("bare", b"", places)
    found = {each.name: each for each in presets(places)}
    assert found["bare"] == PresetOption("bare")
    assert found["broken"].trouble.startswith(f"{path} can't be used: ")
    assert found["translate"].parameters == {"language": "English"}
    assert found["creative"].description.startswith("Draws from all tokens")


def test_own_values(places: Paths) -> None:
    part = Part("a" * 64, Stamp(1, 1, 1))
    record = Record("mine", ("mine",), (part,), sampling=(("temperature", 0.9),))
    installed.record(record, places)
    found = own_values("mine", places)
    assert list(found) == list(NUMBERS)
    assert (found["temperature"], found["top_k"], found["max_tokens"]) == (0.9, 40, None)
    assert own_values("other", places)["temperature"] == 0.8
    installed.record(replace(record, sampling=(("top_k", 5),)), places)
    assert own_values("MINE", places)["top_k"] == 5


def test_every_setting_has_a_meaning() -> None:
    found = meanings()
    assert all(found[name] for name in (*NAMES, "preset"))
