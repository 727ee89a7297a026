from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from localchat import config
from localchat.config import Settings
from localchat.errors import ConfigError
from localchat.paths import Paths


@pytest.fixture
def file(places: Paths) -> Path:
    places.config.mkdir(parents=True)
    return places.config_file


def load(places: Paths, **variables: str) -> Settings:
    return config.load(places, {f"LOCALCHAT_{name}": text for name, text in variables.items()})


def test_without_anything_written_the_defaults_hold(places: Paths) -> None:
    assert load(places) == Settings()
    assert not places.cache.exists()


def test_the_environment_wins_over_the_file(places: Paths, file: Path) -> None:
    file.write_text("top_k = 3\ntop_p = 0.5")
    found = load(places, TOP_K="4", MIN_P="")
    assert (found.top_k, found.top_p, found.min_p) == (4, 0.5, None)


def test_every_setting_has_an_origin_and_a_meaning(places: Paths, file: Path) -> None:
    file.write_text("top_k = 3\ntop_p = 0.5")
    origins = config.explain(places, {"LOCALCHAT_TOP_K": "4"})
    found = {origin.name: origin for origin in origins}
    assert (found["top_k"].value, found["top_k"].source) == (4, "LOCALCHAT_TOP_K")
    assert (found["top_p"].value, found["top_p"].source) == (0.5, str(file))
    assert (found["threads"].value, found["threads"].source) == (0, "default")
    assert all(origin.meaning.endswith(".") for origin in origins)


def test_a_change_of_file_or_environment_is_seen_at_once(places: Paths, file: Path) -> None:
    for written in (1, 2, 2, 3):
        file.write_text(f"top_k = {written}")
        assert load(places).top_k == written
    assert load(places, TOP_K="4").top_k == 4
    assert load(places, TOP_K="5").top_k == 5
    assert load(places).top_k == 3
    file.unlink()
    assert load(places).top_k is None


def test_settings_validated_once_cost_no_validation_again(
    places: Paths, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.write_text("keep_alive = '1h'\nmodel = 'é'")
    first = load(places)
    monkeypatch.setitem(sys.modules, "pydantic", None)  # importing it now fails
    assert load(places) == first


@pytest.mark.parametrize("damaged", ["", "{", "[]", '{"fingerprint": 1}', "\xff"])
def test_a_damaged_cache_is_ignored(places: Paths, file: Path, damaged: str) -> None:
    file.write_text("top_k = 3")
    load(places)
    (places.cache / "settings.json").write_text(damaged, encoding="latin-1")
    assert load(places).top_k == 3


def test_a_cache_that_cannot_be_written_is_done_without(places: Paths, file: Path) -> None:
    file.write_text("top_k = 3")
    places.cache.write_text("a file where the folder should be")
    assert load(places).top_k == 3


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("2h", 7200), ("1d", 86400), ("0", 0), ("-1", -1), ("1.5 m", 90)],
)
def test_durations(places: Paths, text: str, seconds: float) -> None:
    assert load(places, KEEP_ALIVE=text).keep_alive == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("2GB", 2 * 10**9), ("500 MB", 5 * 10**8), ("1.5GiB", 3 * 2**29), ("4096", 4096), ("0", 0)],
)
def test_sizes(places: Paths, text: str, size: int) -> None:
    assert load(places, SNAPSHOT_BUDGET=text).snapshot_budget == size
    assert load(places, SNAPSHOT_BUDGET=text).snapshot_budget == size, "remembered"
    assert load(places).snapshot_budget is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("snapshot_budget", "much"),
        ("snapshot_budget", "-1"),
        ("snapshot_budget", "2 XB"),
        ("reasoning", "perhaps"),
        ("preset", "Wild"),
        ("preset", "../wild"),
        ("frequency_penalty", "2.1"),
        ("presence_penalty", "nan"),
        ("keep_alive", "soon"),
        ("keep_alive", "-2"),
        ("keep_alive", "inf"),
        ("keep_alive", "nan"),
        ("keep_alive", "5 weeks"),
        ("context", "63"),
        ("context", "many"),
        ("context", "-1"),
        ("kv_type", "q5_0"),
        ("gpu_layers", "-1"),
        ("gpu_layers", "all"),
        ("parallel", "65"),
        ("temperature", "5.1"),
        ("temperature", "nan"),
        ("top_p", "0"),
        ("offline", "perhaps"),
    ],
)
def test_a_bad_value_names_the_setting_and_the_variable(
    places: Paths, name: str, text: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(places, **{name.upper(): text})
    assert f"{name!r} in LOCALCHAT_{name.upper()} can't be " in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"temprature = 1", "unknown setting 'temprature'; did you mean 'temperature'?"),
        (b"qqq = 1", "unknown setting 'qqq'."),
        (b"top_k = ", "not valid TOML"),
        (b"model = '\xff'", "not valid TOML"),
        (b"top_k = [1]", "'top_k' in {file} can't be [1]"),
    ],
)
def test_a_bad_file_is_named(places: Paths, file: Path, content: bytes, said: str) -> None:
    file.write_bytes(content)
    for read in (config.load, config.explain):
        with pytest.raises(ConfigError) as caught:
            read(places, {})
        assert str(file) in str(caught.value)
        assert said.format(file=file) in str(caught.value)


def test_a_file_that_cannot_be_read_is_named(places: Paths, file: Path) -> None:
    file.mkdir()
    with pytest.raises(ConfigError, match="can't be read: Is a directory"):
        load(places)


def test_a_bad_value_is_refused_again_and_not_remembered(places: Paths, file: Path) -> None:
    file.write_text("top_k = -1")
    for _ in range(2):
        with pytest.raises(ConfigError):
            load(places)


@pytest.mark.parametrize(("value", "same"), [("5 parsecs", "5 parsecs"), (7, 7), (None, None)])
def test_what_is_no_duration_is_left_for_validation(value: Any, same: Any) -> None:
    assert config.seconds(value) == same


@pytest.mark.parametrize(("text", "value"), [("auto", "auto"), ("4096", 4096)])
def test_a_number_may_be_left_to_localchat(places: Paths, text: str, value: int | str) -> None:
    for _ in range(2):  # the second time from what was remembered
        assert load(places, CONTEXT=text).context == value
        assert load(places, GPU_LAYERS=text).gpu_layers == value


def test_numbers_and_words_in_the_file(places: Paths, file: Path) -> None:
    file.write_text('context = 4096\ngpu_layers = "auto"\nkv_type = "q8_0"')
    found = load(places)
    assert (found.context, found.gpu_layers, found.kv_type) == (4096, "auto", "q8_0")


def test_a_bare_word_of_toml_is_no_word(places: Paths, file: Path) -> None:
    """`reasoning = off` is what people write first; the sentence says that the file is wrong."""
    for text in ("reasoning = off", "reasoning = false"):
        file.write_text(text)
        with pytest.raises(ConfigError):
            load(places)
    file.write_text("reasoning = 'off'\ndraft = 'small'\npreset = 'greedy'")
    found = load(places)
    assert (found.reasoning, found.draft, found.preset) == ("off", "small", "greedy")


@pytest.mark.parametrize(
    ("variables", "offline", "source"),
    [
        ({"HF_HUB_OFFLINE": "1"}, True, "HF_HUB_OFFLINE"),
        ({"HF_HUB_OFFLINE": "yes"}, True, "HF_HUB_OFFLINE"),
        ({"HF_HUB_OFFLINE": "0"}, False, "default"),
        ({"HF_HUB_OFFLINE": "1", "LOCALCHAT_OFFLINE": "0"}, False, "LOCALCHAT_OFFLINE"),
    ],
)
def test_the_hubs_own_switch_means_offline(
    places: Paths, variables: dict[str, str], offline: bool, source: str
) -> None:
    assert config.load(places, variables).offline is offline
    found = next(each for each in config.explain(places, variables) if each.name == "offline")
    assert (found.value, found.source) == (offline, source)
