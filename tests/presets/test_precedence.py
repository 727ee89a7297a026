"""Who is heard: flags, presets, settings, the model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from localchat.config import Settings
from localchat.errors import ConfigError, UsageError
from localchat.paths import Paths
from localchat.presets.folder import write_own
from localchat.presets.precedence import Decided, decide
from localchat.types import ModelRef, SamplingParams

MODEL = ModelRef("m", "/m.gguf", sampling=(("temperature", 0.3), ("top_k", 7)))


def write(places: Paths, name: str, text: str) -> Path:
    return write_own(name, text.encode(), places)


def decided(places: Paths, settings: dict[str, Any] | None = None, **flags: Any) -> Decided:
    given = flags.pop("given", {})
    return decide(flags, given, Settings(**settings or {}), places)


def temperature(places: Paths, settings: dict[str, Any], **flags: Any) -> float:
    return decided(places, settings, **flags).params(MODEL).temperature


def test_sampling_values(places: Paths) -> None:
    """Flag, --preset, setting, preset of the settings, model, default."""
    creative = {"preset": "creative"}
    assert temperature(places, {}) == 0.3
    assert decided(places).params(MODEL).min_p == SamplingParams().min_p
    assert temperature(places, creative) == 1.1
    assert temperature(places, creative | {"temperature": 0.5}) == 0.5
    assert temperature(places, {"temperature": 0.5}, preset="precise") == 0.2
    assert decided(places, creative, preset="precise").params(MODEL).top_k == 40
    everything = {"preset": "precise", "temperature": 1.5}
    assert temperature(places, {"temperature": 0.5}, **everything) == 1.5
    # What a preset leaves open is the model's matter.
    assert decided(places, preset="greedy").params(MODEL).top_k == 7


@pytest.mark.parametrize(
    ("key", "values"),
    [("model", ("a", "b", "c", "d")), ("reasoning", ("off", "on", "auto", "on"))],
)
def test_model_and_reasoning(places: Paths, key: str, values: tuple[str, ...]) -> None:
    standing, setting, asked, flag = values
    write(places, "standing", f"{key} = '{standing}'")
    write(places, "asked", f"{key} = '{asked}'")
    settings: dict[str, Any] = {}
    assert getattr(decided(places, settings), key) == getattr(Settings(), key)
    settings["preset"] = "standing"
    assert getattr(decided(places, settings), key) == standing
    settings[key] = setting
    assert getattr(decided(places, settings), key) == setting
    assert getattr(decided(places, settings, preset="asked"), key) == asked
    flags = {"preset": "asked", key: flag}
    assert getattr(decided(places, settings, **flags), key) == flag


def test_instructions(places: Paths) -> None:
    write(places, "standing", "system = 'standing'")
    write(places, "asked", "system = 'asked'")
    settings = {"preset": "standing"}
    assert decided(places).system is None
    assert decided(places, settings).system == "standing"
    assert decided(places, settings, preset="greedy").system == "standing"
    assert decided(places, settings, preset="asked").system == "asked"
    assert decided(places, settings, preset="asked", system="flag").system == "flag"
    assert decided(places, settings, preset="asked", system="").system == ""


def test_stop_strings(places: Paths) -> None:
    write(places, "asked", "[sampling]\nstop = ['a']")
    assert decided(places, preset="asked", stop=None).params(MODEL).stop == ("a",)
    assert decided(places, preset="asked", stop=("b",)).params(MODEL).stop == ("b",)


def test_parameters(places: Paths) -> None:
    given = {"language": "Latin"}
    system = decided(places, preset="translate", given=given).system
    assert system is not None
    assert "into Latin." in system
    assert decided(places, {"preset": "translate"}, given=given).system == system
    useless: tuple[dict[str, Any], ...]
    useless = ({}, {"preset": "greedy"}, {"preset": "translate", "system": "x"})
    for flags in useless:
        with pytest.raises(UsageError, match=r"^-p fills in the instructions of a preset"):
            decided(places, given=given, **flags)


def test_a_flag_in_the_place_of_instructions_needs_no_parameter(places: Paths) -> None:
    write(places, "asked", 'system = "In {tone}."\nparameters = { tone = "" }')
    with pytest.raises(UsageError, match="needs the parameter 'tone'"):
        decided(places, preset="asked")
    assert decided(places, preset="asked", system="flag").system == "flag"


def test_whose_preset_is_missing_is_said(places: Paths) -> None:
    with pytest.raises(UsageError, match=r"^There is no preset 'wild'"):
        decided(places, preset="wild")
    with pytest.raises(ConfigError, match=r"^The setting 'preset' can't be 'wild': There is no"):
        decided(places, {"preset": "wild"})
    path = write(places, "wild", "system = 1")
    with pytest.raises(ConfigError, match=rf"^{path} can't be used: 'system'"):
        decided(places, {"preset": "wild"})


def test_without_a_preset_no_file_is_looked_for(home: Path) -> None:
    code = (
        "import sys\nfrom localchat import config, paths\n"
        "from localchat.presets.precedence import decide\n"
        "decide({'preset': sys.argv[1] or None}, {}, config.Settings(), paths.find())\n"
        "print(*sorted({'tomllib', 'pydantic'} & set(sys.modules)))"
    )
    run = [sys.executable, "-P", "-c", code]
    assert subprocess.check_output([*run, ""], text=True) == "\n"
    assert subprocess.check_output([*run, "translate"], text=True) == "tomllib\n"
