"""Threads that tell the event loop by a pipe."""

import asyncio
import os
import threading

from workers.serving.crew import Crew

PIPE = 2**16  # bytes that a pipe holds: a thread that rings once more waits for the loop


async def test_nothing_is_lost_where_the_loop_is_away_until_the_pipe_is_full() -> None:
    told: list[int] = []
    everything = asyncio.get_running_loop().create_future()
    with Crew(1, "work") as crew:
        count = PIPE + 5000
        for number in range(count):

            def then(number: int = number) -> None:
                told.append(number)
                if number == count - 1:
                    everything.set_result(None)

            crew.submit(lambda then=then: then)
        await asyncio.wait_for(everything, 60)
    assert told == list(range(count))


async def test_one_that_stumbles_keeps_nobody_waiting_and_threads_are_few() -> None:
    names: set[str] = set()
    done = asyncio.get_running_loop().create_future()
    meeting = threading.Barrier(2, timeout=20)

    def stumble() -> None:
        raise RuntimeError("stumbled")

    with Crew(2, "work") as crew:
        for _ in range(2):  # both threads are needed to get past this

            def meet() -> None:
                meeting.wait()
                names.add(threading.current_thread().name)

            crew.submit(lambda: (meet(), stumble)[1])
        for _ in range(20):
            crew.submit(lambda: stumble)
        crew.submit(lambda: lambda: done.set_result(None))
        await asyncio.wait_for(done, 20)
    assert names == {"work_0", "work_1"}


async def test_after_the_end_nobody_is_told_and_threads_and_files_are_gone() -> None:
    open_before, threads_before = set(os.listdir("/proc/self/fd")), threading.active_count()
    begun, go, told = threading.Event(), threading.Event(), list[str]()

    def first() -> object:
        begun.set()
        go.wait(20)
        return lambda: told.append("first")

    crew = Crew(1, "work")
    crew.submit(first)  # type: ignore[arg-type]
    crew.submit(lambda: lambda: told.append("second"))
    begun.wait(20)
    with crew:  # it ends while the first is being done and the second waits
        go.set()
    await asyncio.sleep(0)
    assert told == [] and threading.active_count() == threads_before
    assert set(os.listdir("/proc/self/fd")) == open_before
