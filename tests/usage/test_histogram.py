"""Percentiles from histograms stay within the promised error."""

import math

from hypothesis import given
from hypothesis import strategies as st

from apps.usage.histogram import BUCKETS, bucket, histogram, percentile_ms

LATENCIES = st.lists(st.integers(min_value=10, max_value=100_000_000), min_size=1, max_size=200)


@given(LATENCIES, st.sampled_from([0.5, 0.95, 0.99]))
def test_a_percentile_is_wrong_by_nine_percent_at_most(latencies: list[int], share: float) -> None:
    exact = sorted(latencies)[max(1, math.ceil(share * len(latencies))) - 1] / 1000
    found = percentile_ms(histogram(latencies), share)
    assert found is not None
    assert exact * 2 ** (-1 / 8) - 0.001 <= found <= exact * 2 ** (1 / 8) + 0.001


def test_nothing_gives_nothing() -> None:
    assert percentile_ms([0] * BUCKETS, 0.5) is None


def test_the_longest_latencies_share_the_last_bucket() -> None:
    assert bucket(10**12) == BUCKETS - 1
