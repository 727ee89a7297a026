"""The verdicts on planted machines, and in which order models are named."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from localchat.gguf import Header
from localchat.registry.fitting import decode_speed
from localchat.registry.fitting import ranking as fits
from localchat.registry.fitting.candidates import Candidate
from localchat.registry.fitting.capacity import Capacity
from localchat.registry.fitting.ranking import Fit, Question

GB = 10**9
HEADER = Header(
    "llama",
    {
        "llama.block_count": 32,
        "llama.embedding_length": 4096,
        "llama.feed_forward_length": 14336,
        "llama.attention.head_count": 32,
        "llama.attention.head_count_kv": 8,
        "llama.context_length": 8192,
    },
    128_256,
)
KV_TOKEN = 32 * 8 * 2 * 128 * 2  # bytes: layers, heads, keys and values, width, f16
MODEL = Candidate(
    name="m",
    quantization="Q4_K_M",
    weights=5 * GB,
    download=5 * GB,
    header=HEADER,
    parameters=8 * GB,
    active_share=1.0,
    context_length=8192,
    speed_key="m" * 64,
    kind="chat",
    released="2025-01",
)
MACHINE = Capacity(memory=16 * GB, swap=0, vram=0, disk=100 * GB, bandwidth=50e9, threads=8)
NOWHERE = Path("/nowhere")
NEEDS = MODEL.needs(4096, "f16", 18).total


def rank(
    *models: Candidate, machine: Capacity = MACHINE, ctx: int | None = None, runs: Path = NOWHERE
) -> list[Fit]:
    return fits.rank(models, machine, Question(ctx), runs)


def judge(machine: Capacity = MACHINE, ctx: int | None = None, **changes: Any) -> Fit:
    (found,) = rank(replace(MODEL, **changes), machine=machine, ctx=ctx)
    return found


def names(found: list[Fit]) -> list[str]:
    return [each.candidate.name for each in found]


class TestVerdicts:
    def test_enough_of_everything(self) -> None:
        found = judge()
        assert (found.verdict, found.reasons, found.context) == ("fits", (), 4096)
        assert found.needs.weights == 5 * GB
        assert found.needs.kv_cache == 4096 * KV_TOKEN

    @pytest.mark.parametrize(
        ("memory", "verdict", "reason"),
        [
            (NEEDS * 10 // 9 + 10, "fits", None),
            (NEEDS + 500_000_000, "tight", "leaves 500 MB of memory"),
            (NEEDS, "tight", "leaves 0 MB of memory"),
            (NEEDS - 1, "no", "memory short by 0 MB"),
            (NEEDS - 3 * GB, "no", "memory short by 3.0 GB"),
        ],
    )
    def test_memory(self, memory: int, verdict: str, reason: str | None) -> None:
        found = judge(replace(MACHINE, memory=memory))
        assert (found.verdict, found.reasons) == (verdict, (reason,) if reason else ())

    @pytest.mark.parametrize(("left", "verdict"), [(2**28, "fits"), (2**28 - 1, "tight")])
    def test_a_small_machine_keeps_more_than_a_tenth(self, left: int, verdict: str) -> None:
        small = replace(MODEL, weights=10**8)
        needs = small.needs(4096, "f16", 18).total
        assert judge(replace(MACHINE, memory=needs + left), weights=10**8).verdict == verdict

    @pytest.mark.parametrize(
        ("swap", "verdict", "reason"),
        [(GB, "tight", "1.0 GB of swap"), (GB - 1, "no", "memory short by 1.0 GB")],
    )
    def test_swap_makes_it_tight(self, swap: int, verdict: str, reason: str) -> None:
        found = judge(replace(MACHINE, memory=NEEDS - GB, swap=swap))
        assert (found.verdict, found.reasons) == (verdict, (reason,))

    def test_vram_adds_to_memory(self) -> None:
        assert judge(replace(MACHINE, memory=2 * GB)).verdict == "no"
        assert judge(replace(MACHINE, memory=2 * GB, vram=8 * GB)).verdict == "fits"

    @pytest.mark.parametrize(("disk", "verdict"), [(5_250_000_000, "fits"), (5_249_999_999, "no")])
    def test_disk_for_the_download_and_5_percent(self, disk: int, verdict: str) -> None:
        assert judge(replace(MACHINE, disk=disk)).verdict == verdict

    def test_a_projector_counts_on_disk(self) -> None:
        found = judge(replace(MACHINE, disk=6 * GB), download=6 * GB)
        assert (found.verdict, found.reasons) == ("no", ("disk short by 300 MB",))

    def test_what_is_installed_needs_no_disk(self) -> None:
        assert judge(replace(MACHINE, disk=0), installed=True).verdict == "fits"

    def test_all_that_is_short_is_said(self) -> None:
        found = judge(replace(MACHINE, memory=NEEDS - GB, disk=0), ctx=8193)
        assert found.verdict == "no"
        assert [reason.split()[0] for reason in found.reasons] == ["trained", "memory", "disk"]


class TestContext:
    def test_more_of_it_takes_more_memory(self) -> None:
        found = judge(ctx=8192)
        assert (found.verdict, found.needs.kv_cache) == ("fits", 8192 * KV_TOKEN)

    def test_more_than_the_model_was_trained_for(self) -> None:
        found = judge(ctx=8193)
        assert (found.verdict, found.reasons) == ("no", ("trained for 8,192 tokens",))

    def test_a_short_one_is_judged_by_what_it_has(self) -> None:
        found = judge(context_length=2048)
        assert (found.verdict, found.context) == ("fits", 2048)

    def test_one_that_is_not_known_does_not_matter(self) -> None:
        assert judge(context_length=0, ctx=10_000).verdict == "fits"

    def test_a_quantized_cache_takes_less(self) -> None:
        (found,) = fits.rank([MODEL], MACHINE, Question(kv_type="q8_0"), NOWHERE)
        assert found.needs.kv_cache == 4096 * KV_TOKEN * 34 // 64


class TestOrder:
    def test_what_fits_comes_before_what_is_tight_before_what_does_not(self) -> None:
        machine = replace(MACHINE, memory=NEEDS)
        found = rank(
            replace(MODEL, name="no", weights=6 * GB, parameters=10 * GB),
            replace(MODEL, name="tight", parameters=9 * GB),
            replace(MODEL, name="fits", weights=3 * GB),
            machine=machine,
        )
        assert names(found) == ["fits", "tight", "no"]

    def test_larger_and_newer_models_come_first(self) -> None:
        found = rank(
            replace(MODEL, name="small", parameters=4 * GB),
            replace(MODEL, name="large"),
            replace(MODEL, name="newer", released="2025-02"),
            replace(MODEL, name="undated", released=None),
            replace(MODEL, name="old", released="2024"),
        )
        assert names(found) == ["newer", "large", "small", "old", "undated"]

    def test_a_year_is_worth_as_much_as_twice_the_size(self) -> None:
        half = fits.quality(replace(MODEL, parameters=4 * GB, released="2026-01"))
        assert half == pytest.approx(fits.quality(MODEL))

    def test_a_mixture_counts_for_less_than_its_size_and_more_than_its_active_part(self) -> None:
        mixture = fits.quality(replace(MODEL, active_share=1 / 16))
        assert mixture == pytest.approx(fits.quality(replace(MODEL, parameters=2 * GB)))


class TestSpeed:
    def run(self, folder: Path, rate: float, key: str = "m", times: int = 3) -> None:
        """Real runs with 2,048 tokens in the context."""
        folder.mkdir(exist_ok=True)
        runs = {"format": 1, "decode": [[rate, 2048]] * times, "prefill": []}
        (folder / f"{key * 64}.json").write_text(json.dumps(runs))

    def test_is_what_the_bandwidth_allows(self) -> None:
        found = judge()
        read = 5 * GB + 2048 * KV_TOKEN
        expected = 1 / (read / (decode_speed.EFFICIENCY * 50e9) + decode_speed.OVERHEAD)
        assert found.speed == pytest.approx(expected)
        assert found.basis == "expected"

    def test_a_small_model_is_bounded_by_what_no_bandwidth_shortens(self) -> None:
        found = judge(weights=10**6, header=None, parameters=1)
        assert found.speed == pytest.approx(1 / decode_speed.OVERHEAD, rel=0.1)

    def test_a_mixture_of_experts_reads_a_part(self) -> None:
        dense, mixture = judge().speed, judge(active_share=0.25).speed
        assert dense is not None
        assert mixture is not None
        assert 3 < mixture / dense < 4  # it reads the KV cache all the same

    def test_what_is_on_gpus_is_faster_than_said(self) -> None:
        cpu, gpu = judge().speed, judge(replace(MACHINE, vram=20 * GB))
        assert cpu is not None
        assert gpu.speed is not None
        assert gpu.speed > 2 * cpu
        assert gpu.basis == "at least"
        part = judge(replace(MACHINE, vram=NEEDS // 2)).speed
        assert part is not None
        assert cpu < part < gpu.speed

    def test_is_not_told_without_a_bandwidth_or_of_what_writes_nothing(self) -> None:
        assert judge(replace(MACHINE, bandwidth=None)).speed is None
        assert (judge(kind="embedding").speed, judge(kind="embedding").basis) == (None, None)

    def test_of_real_runs_counts_for_the_model_itself(self, tmp_path: Path) -> None:
        self.run(tmp_path, 5.5)
        (found,) = rank(MODEL, runs=tmp_path)
        assert (found.speed, found.basis) == (5.5, "measured")
        (found,) = rank(MODEL, runs=tmp_path, machine=replace(MACHINE, bandwidth=None))
        assert (found.speed, found.basis) == (5.5, "measured")

    def test_of_real_runs_corrects_the_others(self, tmp_path: Path) -> None:
        other = replace(MODEL, name="other", weights=4 * GB, speed_key=None)
        alone = rank(other)[0].speed
        expected = judge().speed
        assert alone is not None
        assert expected is not None
        self.run(tmp_path, expected / 2)
        found = {each.candidate.name: each for each in rank(MODEL, other, runs=tmp_path)}
        assert found["other"].basis == "scaled"
        assert found["other"].speed == pytest.approx(alone / 2, rel=0.01)

    @pytest.mark.parametrize(("times", "basis"), [(2, "expected"), (3, "scaled")])
    def test_a_run_or_two_say_nothing_of_others(
        self, tmp_path: Path, times: int, basis: str
    ) -> None:
        other = replace(MODEL, name="other", speed_key=None)
        self.run(tmp_path, 1.0, times=times)
        found = {each.candidate.name: each.basis for each in rank(MODEL, other, runs=tmp_path)}
        assert found == {"m": "measured", "other": basis}

    def test_the_model_nearest_in_size_corrects(self, tmp_path: Path) -> None:
        models = [
            replace(MODEL, name=name, weights=weights, speed_key=key and key * 64)
            for name, weights, key in (
                ("large", 5 * GB, None),
                ("near it", 4 * GB, "n"),
                ("small", GB, None),
                ("smaller", GB // 2, "s"),
            )
        ]
        plain = {each.candidate.name: each.speed or math.nan for each in rank(*models)}
        self.run(tmp_path, plain["near it"] / 2, "n")
        self.run(tmp_path, plain["smaller"] * 2, "s")
        found = {each.candidate.name: each.speed for each in rank(*models, runs=tmp_path)}
        assert found["large"] == pytest.approx(plain["large"] / 2, rel=0.01)
        assert found["small"] == pytest.approx(plain["small"] * 2, rel=0.01)

    def test_an_odd_run_says_little_of_others(self, tmp_path: Path) -> None:
        other = replace(MODEL, name="other", speed_key=None)
        self.run(tmp_path, 1e6)
        found = {each.candidate.name: each.speed for each in rank(MODEL, other, runs=tmp_path)}
        assert found["other"] == pytest.approx(4 * (judge().speed or 0))


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 MB"), (98_362_432, "98 MB"), (999_499_999, "999 MB"), (999_500_000, "1.0 GB")],
)
def test_sizes_are_said_as_people_do(count: int, text: str) -> None:
    assert fits.size(count) == text
