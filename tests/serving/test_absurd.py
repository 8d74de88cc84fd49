"""What nobody would send: absurd shapes and values at each kind of endpoint are refused by name, and cost little.

A process that is kept busy by one request answers nobody: each test ends with a good request to another endpoint.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.serving import bundles
from tests.serving.conftest import Stage, staged
from tests.serving.running import Control


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, redis_server: str, bundle_folder: Path) -> Iterator[Stage]:
    """Endpoints of every kind: also `pairs` and `rows`."""
    folder = tmp_path_factory.mktemp("absurd")

    def add(control: Control) -> None:
        control.add_route("pairs", bundles.pair_bundle(folder / "pairs.zip"))
        control.add_route("rows", bundles.table_bundle(folder / "rows.zip"), kind="tabular")

    with staged(folder, redis_server, bundle_folder, add) as running:
        running.client.timeout = httpx.Timeout(5)
        yield running


SLUGS = ("reviews", "colours", "shop", "pairs", "rows")
KEYS = (
    "text",
    "text_pair",
    "image",
    "user",
    "items",
    "k",
    "exclude_seen",
    "amount",
    "day",
    "colour",
    "id",
    "__class__",
)
# Small enough that whatever takes longer than the client's five seconds takes time that grows by the square, or worse.
LONG = 200_000


def test_a_table_is_answered(stage: Stage) -> None:
    reply = stage.predict([{"amount": "1.234,5 €"}, {"amount": "1,234.5"}, {"amount": -7, "id": "x"}], "rows")
    assert [row["label"] for row in reply.json()["predictions"]][1:] == ["positive", "negative"]


@pytest.mark.parametrize(
    "cell",
    [
        "1" * LONG + "x",
        "1" * LONG,
        "1," * LONG,
        "0." + "1" * LONG + "e",
        "2026-" + "1" * LONG,
        " " * LONG + "1",
        "\u0315\u0300" * (LONG // 4),
        1e308,
        -0.0,
        9**400 // 3**200,
    ],
)
@pytest.mark.parametrize("column", ["amount", "day", "colour"])
def test_a_cell_is_read_in_one_pass(stage: Stage, column: str, cell: Any) -> None:
    assert stage.predict([{column: cell}], "rows").status_code == 200
    assert stage.predict(["good"]).status_code == 200


@pytest.mark.parametrize(
    "accepted", ["gzip;q=0." + "1" * 30_000 + "x", "gzip" + " " * 30_000 + "x", "gzip," * 6000, "gzip;q=0.0" * 3000]
)
def test_an_accepted_encoding_is_read_in_one_pass(stage: Stage, accepted: str) -> None:
    """It is read where the answer is long enough to be packed."""
    reply = stage.client.post(
        "/v1/endpoints/reviews/predict",
        json={"inputs": ["good"] * 200},
        headers={**stage.auth, "Accept-Encoding": accepted},
    )
    assert reply.status_code == 200


numbers = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
json_values = st.recursive(
    st.none() | st.booleans() | numbers | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)
bodies = st.fixed_dictionaries({"inputs": json_values | st.lists(json_values, max_size=4)}) | json_values
tensors = st.fixed_dictionaries(
    {
        "inputs": json_values
        | st.lists(
            st.fixed_dictionaries(
                {
                    "name": json_values | st.sampled_from(("text", "text_pair", "image", "user", "row")),
                    "shape": json_values | st.just([1]),
                    "datatype": json_values | st.just("BYTES"),
                },
                optional={"data": json_values | st.just(["good"]), "parameters": json_values},
            ),
            max_size=3,
        )
    },
    optional={"outputs": json_values, "parameters": json_values, "id": json_values},
)


@pytest.mark.parametrize("slug", SLUGS)
@pytest.mark.parametrize(("route", "strategy"), [("v1/endpoints/{}/predict", bodies), ("v2/models/{}/infer", tensors)])
def test_no_shape_is_a_fault_of_ours(stage: Stage, slug: str, route: str, strategy: st.SearchStrategy[Any]) -> None:
    headers = {**stage.auth, "Content-Type": "application/json"}

    @settings(max_examples=40, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def send(body: Any) -> None:
        reply = stage.client.post(f"/{route.format(slug)}", content=json.dumps(body), headers=headers)
        assert reply.status_code in (200, 400, 413, 422), (body, reply.text)

    send()
    assert stage.predict(["good"]).status_code == 200
