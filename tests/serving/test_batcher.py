"""Batching by itself: order, bounds, neighbours, deadlines."""

import asyncio
import random
import threading
import time
from collections.abc import Sequence
from typing import Any

import pytest

from workers.contracts.errors import InfraError
from workers.inference.core import InputError
from workers.serving.batcher import LOOP_BUDGET_S, Batcher
from workers.serving.crew import Crew

POISON = -1


class Echo:
    """Predicts each input as itself, and keeps the sizes of its batches."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, items: Sequence[Any]) -> list[dict[str, Any]]:
        self.batches.append(len(items))
        if POISON in items:
            raise InputError(list(items).index(POISON), "poison")
        return [{"value": item} for item in items]


@pytest.fixture(params=["loop", "thread"])
def typical_s(request: pytest.FixtureRequest) -> float:
    """Cheap enough for the event loop, or not."""
    return 0.0 if request.param == "loop" else LOOP_BUDGET_S * 1.5


async def ask(batcher: Batcher, items: list[int]) -> list[int]:
    batcher.reserve(len(items))
    try:
        return [prediction["value"] for prediction in await batcher.submit(items).future]
    finally:
        batcher.release(len(items))


async def test_everyone_gets_their_own_answers_over_many_interleavings(typical_s: float) -> None:
    model, rng = Echo(), random.Random(1)
    with Crew(2, "predict") as crew:
        batcher = Batcher(model, crew, typical_s=typical_s, max_waiting=10**6, deadline_s=600.0)

        async def client(number: int) -> None:
            for _ in range(rng.randrange(3)):
                await asyncio.sleep(0)
            items = [number * 10 + place for place in range(rng.randrange(1, 9))]
            assert await ask(batcher, items) == items

        await asyncio.gather(*(client(number) for number in range(10_000)))
    assert batcher.free == 10**6
    assert max(model.batches) <= 64 and len(model.batches) < 5_000


async def test_what_waits_is_taken_together_and_nobody_waits_for_more(typical_s: float) -> None:
    model = Echo()
    with Crew(1, "predict") as crew:
        batcher = Batcher(model, crew, typical_s=typical_s)
        await asyncio.gather(*(ask(batcher, [number]) for number in range(10)))
        await ask(batcher, [1])
    assert model.batches == [10, 1]


async def test_a_poisoned_input_fails_only_its_own_request(typical_s: float) -> None:
    with Crew(1, "predict") as crew:
        batcher = Batcher(Echo(), crew, typical_s=typical_s)
        asked = [ask(batcher, [number]) for number in range(31)] + [ask(batcher, [5, POISON])]
        *good, bad = await asyncio.gather(*asked, return_exceptions=True)
    assert good == [[number] for number in range(31)]
    assert isinstance(bad, InputError) and bad.index == 1


async def test_raw_inputs_are_prepared_in_the_turn_of_their_batch_and_fail_alone() -> None:
    model, threads = Echo(), set[str]()

    def prepare(raws: list[Any]) -> list[Any]:
        threads.add(threading.current_thread().name)
        if "bad" in raws:
            raise InputError(raws.index("bad"), "not a number")
        return [int(raw) for raw in raws]

    with Crew(1, "predict") as crew:
        batcher = Batcher(model, crew, prepare=prepare)
        asked = [batcher.submit(raws, is_raw=True) for raws in (["1", "2"], ["3", "bad"], ["4"])]
        asked.append(batcher.submit([5]))
        found = await asyncio.gather(*(job.future for job in asked), return_exceptions=True)
    bad = found.pop(1)
    assert isinstance(bad, InputError) and bad.index == 1
    assert found == [[{"value": 1}, {"value": 2}], [{"value": 4}], [{"value": 5}]]
    assert model.batches == [4] and threads == {"predict_0"}


async def test_whoever_is_dropped_hears_nothing_and_the_others_do(typical_s: float) -> None:
    model, told = Echo(), list[object]()
    with Crew(1, "predict") as crew:
        batcher = Batcher(model, crew, typical_s=typical_s)
        first, _ = (batcher.submit_then([number], lambda job, result: told.append(result)) for number in (1, 2))
        first.drop()
        assert await batcher.submit([3]).future == [{"value": 3}]
    assert told == [[{"value": 2}]] and model.batches == [2]


async def test_a_model_that_answers_too_little_fails(typical_s: float) -> None:
    with Crew(1, "predict") as crew:
        batcher = Batcher(lambda items: [{}] * (len(items) - 1), crew, typical_s=typical_s)
        with pytest.raises(RuntimeError, match="1 predictions for 2 inputs"):
            await ask(batcher, [1, 2])
        assert batcher.free == 1024


async def test_the_queue_counts_inputs_and_is_bounded() -> None:
    with Crew(1, "predict") as crew:
        batcher = Batcher(Echo(), crew, max_waiting=10)
        waiting = asyncio.gather(*(ask(batcher, [1, 2]) for _ in range(5)))
        await asyncio.sleep(0)
        with pytest.raises(InfraError) as caught:
            batcher.reserve(1)
        assert (caught.value.code, caught.value.params) == ("overloaded", {"retry_after": 1})
        await waiting
        assert batcher.free == 10
        # Alone, a request larger than the queue is served.
        assert len(await ask(batcher, list(range(30)))) == 30


async def test_the_queue_holds_no_more_than_seconds_of_work_and_says_when_to_come_again() -> None:
    """A model that takes 0.9 seconds for each input: ten seconds are the bound."""
    with Crew(1, "predict") as crew:
        batcher = Batcher(Echo(), crew, single_s=0.9, typical_s=57.6)
        refused = []
        for count in (6, 4, 2, 4):
            try:
                batcher.reserve(count)
            except InfraError as error:
                refused.append((count, error.code, error.params["retry_after"]))
        assert refused == [(2, "overloaded", 1), (4, "overloaded", 3)]
        assert batcher.wait_s() == pytest.approx(9.0, abs=0.01)
        batcher.release(4)
        with pytest.raises(InfraError) as caught:
            batcher.reserve(1, patience_s=2.5)
        assert caught.value.params["retry_after"] == 3
        batcher.reserve(1, patience_s=6.5)
        batcher.release(7)
        # Alone, any request is served: nobody else waits for it.
        batcher.reserve(100, patience_s=0.001)


async def test_the_estimate_follows_a_model_that_is_slower_than_when_it_was_loaded() -> None:
    def predict(items: Sequence[Any]) -> list[dict[str, Any]]:
        time.sleep(0.02)
        return [{"value": item} for item in items]

    with Crew(1, "predict") as crew:
        batcher = Batcher(predict, crew, single_s=0.002, typical_s=0.1)
        for _ in range(30):
            await ask(batcher, [1])
        batcher.reserve(10)
        assert 0.05 < batcher.wait_s() < 1.0


async def test_a_dear_model_takes_small_batches_so_that_nobody_waits_long() -> None:
    model = Echo()
    with Crew(1, "predict") as crew:
        batcher = Batcher(model, crew, single_s=0.01, typical_s=0.64)
        await asyncio.gather(*(ask(batcher, [number]) for number in range(20)))
        # Where a run costs much by itself, many inputs share it.
        other = Batcher(model, crew, single_s=0.1, typical_s=0.11)
        await asyncio.gather(*(ask(other, [number]) for number in range(40)))
    assert model.batches == [1] * 20 + [40]


async def test_batches_are_even_so_that_no_rest_waits_for_one_more() -> None:
    model = Echo()
    with Crew(1, "predict") as crew:
        batcher = Batcher(model, crew, single_s=0.001, typical_s=0.064)  # ten inputs are a turn
        answers = await asyncio.gather(*(ask(batcher, [number]) for number in range(21)))
    assert answers == [[number] for number in range(21)]
    assert model.batches == [7, 7, 7]


async def test_beside_other_endpoints_a_thread_gives_way_after_each_part_of_a_batch() -> None:
    model, prepared, others = Echo(), list[int](), [False]

    def prepare(raws: list[Any]) -> list[Any]:
        prepared.append(len(model.batches))
        return [int(raw) for raw in raws]

    with Crew(1, "predict") as crew:
        # Three milliseconds for ten inputs are a batch, one for three are a part.
        costs = {"single_s": 0.00032, "typical_s": 0.064 * 0.3}
        batcher = Batcher(model, crew, prepare=prepare, shared=lambda: others[0], **costs)
        for beside in (False, True):
            others[0] = beside
            asked = [batcher.submit(raws, is_raw=True) for raws in (["1"], ["2"], list("34567890"), ["1"])]
            found = await asyncio.gather(*(job.future for job in asked))
            assert [[one["value"] for one in answers] for answers in found] == [[1], [2], [3, 4, 5, 6, 7, 8, 9, 0], [1]]
    assert model.batches == [11, 2, 3, 3, 2, 1]
    # Each part is prepared when its turn has come.
    assert prepared == [0, 0, 0, 0, 1, 1, 2, 5]


async def test_whoever_waited_too_long_is_not_computed() -> None:
    model = Echo()
    with Crew(1, "predict") as crew:
        batcher = Batcher(model, crew, deadline_s=-1.0)
        with pytest.raises(InfraError) as caught:
            await ask(batcher, [1])
    assert caught.value.code == "deadline_exceeded" and model.batches == []


async def test_a_client_may_wait_less_long_than_the_queue_but_not_longer() -> None:
    model = Echo()
    with Crew(1, "predict") as crew:
        batcher = Batcher(model, crew, deadline_s=0.0)
        late = [batcher.submit([1], patience_s=60.0), Batcher(model, crew).submit([1], patience_s=0.0)]
        for job in late:
            with pytest.raises(InfraError) as caught:
                await job.future
            assert caught.value.code == "deadline_exceeded"
    assert model.batches == []


async def test_whoever_has_left_is_passed_over() -> None:
    model = Echo()
    with Crew(1, "predict") as crew:
        batcher = Batcher(model, crew)
        job, other = batcher.submit([1, 2, 3]), batcher.submit([4])
        job.future.cancel()
        assert await other.future == [{"value": 4}]
    assert model.batches == [1]


async def test_a_model_that_turns_out_dear_leaves_the_event_loop() -> None:
    def predict(items: Sequence[Any]) -> list[dict[str, Any]]:
        end = time.perf_counter() + 20 * LOOP_BUDGET_S
        while time.perf_counter() < end:
            pass
        return [{"value": item} for item in items]

    with Crew(1, "predict") as crew:
        batcher = Batcher(predict, crew)
        assert batcher.on_loop
        while batcher.on_loop:
            assert await ask(batcher, [1]) == [1]
        assert await ask(batcher, [2]) == [2]
