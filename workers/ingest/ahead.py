"""Work one step ahead: what comes next is made in a thread while what came last is used.

Native code frees the interpreter, so that parsing, searching and packing run beside Python.
"""

import queue
import threading
from collections.abc import Generator, Iterable
from contextlib import suppress
from typing import TypeVar

Made = TypeVar("Made")
# How often a thread that waits for room looks whether anybody still wants what it made.
_PATIENCE_S = 0.1


def ahead(source: Iterable[Made], steps: int = 2) -> Generator[Made]:
    """The same as the source, which runs in a thread, at most so many steps ahead. What it raises is raised here.

    However this is left, the thread is gone afterwards; the source is used by it alone until then.
    """
    made: queue.Queue[tuple[Made | None, BaseException | None]] = queue.Queue(steps)
    unwanted = threading.Event()

    def hand_over(one: Made | None, error: BaseException | None) -> None:
        while not unwanted.is_set():
            with suppress(queue.Full):
                made.put((one, error), timeout=_PATIENCE_S)
                return

    def work() -> None:
        try:
            for one in source:
                hand_over(one, None)
                if unwanted.is_set():
                    return
            hand_over(None, StopIteration())
        except BaseException as error:
            hand_over(None, error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    try:
        while True:
            one, error = made.get()
            if isinstance(error, StopIteration):
                return
            if error is not None:
                raise error
            yield one  # type: ignore[misc]
    finally:
        unwanted.set()
        thread.join()
