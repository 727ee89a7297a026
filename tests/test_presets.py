from __future__ import annotations

from typing import get_args

import pytest

from localchat.presets import PRESETS, Preset
from localchat.types import SamplingParams


def test_every_preset_that_may_be_named_is_there() -> None:
    assert list(PRESETS) == list(get_args(Preset))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_set_values_of_sampling_params(preset: Preset) -> None:
    params = SamplingParams(**PRESETS[preset])
    assert all(getattr(params, name) == value for name, value in PRESETS[preset].items())


def test_presets_go_from_the_likeliest_token_to_the_widest_choice() -> None:
    temperatures = [values["temperature"] for values in PRESETS.values()]
    assert temperatures == sorted(set(temperatures))
    assert temperatures[0] == 0.0
