"""One endpoint's flood leaves the others their turns, and no turn is ever lost."""

import asyncio
import base64
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.serving import bundles
from tests.serving.clients import asking
from tests.serving.conftest import Stage
from tests.serving.running import until
from workers.serving.turns import AT_ONCE, Turns


def test_turns_are_taken_only_while_several_endpoints_are_asked() -> None:
    turns = Turns()
    assert turns.lane("a", 0.0) is None and turns.lane("a", 1.0) is None
    assert not turns.taken(1.0)
    of_b = turns.lane("b", 2.0)
    assert of_b is not None and turns.lane("b", 3.0) is of_b and turns.lane("a", 4.0) not in (None, of_b)
    assert turns.lane("a", 13.9) is not None and turns.taken(13.9)
    assert turns.lane("a", 14.1) is None and not turns.taken(14.1)


async def test_each_endpoint_has_a_few_in_hand_and_the_others_come_in_order() -> None:
    turns, begun = Turns(), list[int]()
    turns.lane("a", 0.0)
    lane = turns.lane("b", 0.0)
    assert lane is not None
    entered = [lane.enter(lambda number=number: begun.append(number)) for number in range(AT_ONCE + 3)]
    assert entered == [True] * AT_ONCE + [False] * 3 and begun == []
    lane.leave()
    lane.leave()
    await asyncio.sleep(0)
    assert begun == [AT_ONCE, AT_ONCE + 1]
    lane.resume()  # one that had stepped aside comes back: one more than wanted, for a while
    lane.leave()
    await asyncio.sleep(0)
    assert begun == [AT_ONCE, AT_ONCE + 1]
    lane.leave()
    await asyncio.sleep(0)
    assert begun == [AT_ONCE, AT_ONCE + 1, AT_ONCE + 2]


def test_a_cheap_endpoint_answers_while_the_queue_of_a_dear_one_is_full(own_stage: Stage, bundle_folder: Path) -> None:
    own_stage.control.add_route("slow", bundle_folder / "dear.zip", kind="image")
    own_stage.control.publish()
    inputs = [{"image": base64.b64encode(bundles.png(255, 0)).decode()}] * 32
    until(lambda: own_stage.predict(inputs[:1], "slow").status_code == 200)
    with ThreadPoolExecutor(40) as flood:
        # 1,280 inputs where 1,024 may wait.
        asked = [flood.submit(own_stage.predict, inputs, "slow") for _ in range(40)]
        cheap = [own_stage.predict(["good film"]) for _ in range(20)]
        assert not all(one.done() for one in asked)
        seen = {one.result().status_code for one in asked}
    assert {reply.status_code for reply in cheap} == {200} and seen == {200, 503}


def test_nobody_is_forgotten_or_confused_where_turns_are_taken(own_stage: Stage, bundle_folder: Path) -> None:
    own_stage.control.add_route("others", bundle_folder / "text.zip")
    own_stage.control.publish()
    until(lambda: own_stage.predict(["good"], "others").status_code == 200)
    port, key = own_stage.serving.port, own_stage.key
    with asking(port, "reviews", key, clients=24) as one, asking(port, "others", key, clients=24) as other:
        body = json.dumps({"inputs": ["good film"]}).encode()
        head = f"POST /v1/endpoints/others/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        for count in range(100):  # clients that leave before they are answered, or before their body is whole
            with socket.create_connection(("127.0.0.1", port)) as leaving:
                leaving.sendall(head.encode() + body[: len(body) - count % 2])
        until(lambda: len(one.answers) > 500 and len(other.answers) > 500)
    for seen in (one, other):
        assert set(seen.statuses()) == {200} and not seen.wrong and not seen.broken
    assert own_stage.predict(["good"], "others").status_code == 200
