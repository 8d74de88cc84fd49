"""Percentiles from added histograms are near the true ones."""

import random

import pytest

from apps.usage.histogram import BUCKETS, bucket, histogram, percentile_ms


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.5, 0.95, 0.99])
def test_a_percentile_is_within_ten_per_cent(seed: int, share: float) -> None:
    rng = random.Random(seed)
    latencies = sorted(int(rng.lognormvariate(8, 1.2)) + 10 for _ in range(5000))
    true_ms = latencies[int(share * 5000) - 1] / 1000
    assert percentile_ms(histogram(latencies), share) == pytest.approx(true_ms, rel=0.10)


def test_histograms_can_be_added() -> None:
    one, two = [20, 30_000, 500], [7, 500, 10**9]
    added = [a + b for a, b in zip(histogram(one), histogram(two), strict=True)]
    assert added == histogram(one + two)


def test_every_latency_has_a_bucket() -> None:
    buckets = [bucket(us) for us in (0, 1, 10, 11, 10**6, 10**9, 10**18)]
    assert buckets == sorted(buckets) and buckets[0] == 0 and buckets[-1] == BUCKETS - 1


def test_nothing_has_no_percentile() -> None:
    assert percentile_ms([0] * BUCKETS, 0.5) is None
