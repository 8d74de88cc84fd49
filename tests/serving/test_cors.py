"""Pages of other origins: a browser lets them call where a key names their origin, and nowhere else."""

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.serving.conftest import Stage
from tests.serving.running import until
from workers.contracts.keys import clean_origin

SHOP, OTHER = "https://shop.example", "http://localhost:3000"
PREDICT = "/v1/endpoints/reviews/predict"


class Keys(NamedTuple):
    """`shop` names SHOP and opens one endpoint; `plain` names no origin."""

    shop: str
    plain: str


@pytest.fixture(scope="module")
def keys(stage: Stage) -> Iterator[Keys]:
    shop = stage.control.add_key(origins=[SHOP], endpoints=[stage.text.endpoint])
    made = Keys(shop, stage.control.add_key())
    stage.control.add_key(origins=[OTHER], expires=1.0)  # has expired
    stage.control.add_key(origins=[OTHER], team="tem_" + "x" * 24)  # another team's
    stage.control.publish()
    until(lambda: preflight(stage, SHOP).get("access-control-allow-origin"))
    yield made


def preflight(stage: Stage, origin: str, path: str = PREDICT) -> dict[str, str]:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST"}
    return dict(stage.client.options(path, headers=headers).headers)


def allowed(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("access-control")}


def test_a_preflight_is_answered_for_origins_that_a_key_of_the_endpoint_names(stage: Stage, keys: Keys) -> None:
    headers = preflight(stage, SHOP)
    assert headers["access-control-allow-origin"] == SHOP and "origin" in headers["vary"]
    assert "POST" in headers["access-control-allow-methods"]
    assert {"authorization", "content-type"} <= set(headers["access-control-allow-headers"].split(", "))
    assert "access-control-allow-credentials" not in headers
    for path in ("/v1/endpoints/reviews", "/v1/endpoints/reviews/feedback", "/v2/models/reviews/infer"):
        assert preflight(stage, SHOP, path)["access-control-allow-origin"] == SHOP


@pytest.mark.parametrize(
    ("origin", "path"),
    [
        (OTHER, PREDICT),
        ("https://shop.example.evil", PREDICT),
        ("null", PREDICT),
        ("*", PREDICT),
        (SHOP, "/v1/endpoints/colours/predict"),  # the key is not for it
        (SHOP, "/v1/endpoints/none/predict"),
        (SHOP, "/healthz"),
        (SHOP, "/metrics"),
    ],
)
def test_no_other_preflight_is(stage: Stage, keys: Keys, origin: str, path: str) -> None:
    assert not allowed(preflight(stage, origin, path))


def test_only_the_page_that_the_key_names_may_read_the_answer(stage: Stage, keys: Keys) -> None:
    def answer(key: str, origin: str, inputs: object, path: str = PREDICT) -> tuple[int, dict[str, str]]:
        headers = {"Authorization": f"Bearer {key}", "Origin": origin}
        reply = stage.client.post(path, json={"inputs": inputs}, headers=headers)
        return reply.status_code, allowed(dict(reply.headers))

    for inputs, status in ((["good"], 200), ([], 422)):  # refusals too
        assert answer(keys.shop, SHOP, inputs)[0] == status
        assert answer(keys.shop, SHOP, inputs)[1]["access-control-allow-origin"] == SHOP
        assert answer(keys.shop, OTHER, inputs) == (status, {})
        assert answer(keys.plain, SHOP, inputs) == (status, {})
    assert answer("nobody", SHOP, ["good"]) == (401, {})
    assert answer(keys.shop, SHOP, ["x"], "/v1/endpoints/reviews/feedback")[1]["access-control-allow-origin"] == SHOP
    described = stage.client.get(
        "/v1/endpoints/reviews", headers={"Authorization": f"Bearer {keys.shop}", "Origin": SHOP}
    )
    assert described.status_code == 200 and described.headers["access-control-allow-origin"] == SHOP


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("https://Shop.Example/", SHOP),
        (" https://shop.example:443", SHOP),
        ("http://localhost:3000", OTHER),
        ("http://[::1]:80", "http://[::1]"),
        ("https://bücher.example", "https://xn--bcher-kva.example"),
        *[(bad, None) for bad in ("*", "null", "", "shop.example", "https://*.shop.example", "ftp://shop.example")],
        *[(f"https://{bad}", None) for bad in ("", "shop.example/path", "me@shop.example", "a b", "shop.example:x")],
    ],
)
def test_an_origin_is_written_as_browsers_send_it_or_refused(text: str, origin: str | None) -> None:
    assert clean_origin(text) == origin
