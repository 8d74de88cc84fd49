"""How long a model will take: a line through what was measured when it was loaded, at the pace of late."""

from typing import Final

# How much one batch says about the pace; and no batch is believed to be more than so many times slower than the others:
# a moment in which the machine is busy makes no model dear, but a few such batches do.
_WEIGHT: Final = 0.1
_MOST: Final = 4.0
_LEAST_S: Final = 1e-6
# Seconds that a batch should take: what comes meanwhile waits for it, other endpoints' requests too where they share a
# core, and with small batches the answers to one leave while the next is computed. Where a run costs much by itself it
# may take longer, until that is a small share of it; no longer than so many seconds, unless it costs more than that.
_BATCH_S: Final = 0.01
_SMALL_SHARE: Final = 1 / 20
_LONG_S: Final = 0.05
# Seconds after which a thread gives way where other endpoints are asked, too; longer where a run costs so much by
# itself that more than this share would be lost.
_SHORT_S: Final = 0.001
_LOST: Final = 1 / 10


class Cost:
    """Seconds by number of inputs."""

    __slots__ = ("_each_s", "_fixed_s", "_pace", "batch", "part")

    def __init__(self, single_s: float, batch_s: float, max_batch: int) -> None:
        """`single_s` is what one input took, `batch_s` what `max_batch` did."""
        self._each_s = max(0.0, batch_s - single_s) / max(1, max_batch - 1)
        self._fixed_s = max(_LEAST_S, single_s - self._each_s)
        self._pace = 1.0
        wanted = max(_BATCH_S, min(self._fixed_s / _SMALL_SHARE, _LONG_S), self._fixed_s)
        # The most inputs that should be predicted in one run.
        self.batch = max_batch if self._each_s * max_batch <= wanted else max(1, int(wanted / self._each_s))
        # And those after which it gives way to other endpoints.
        short = max(_SHORT_S, self._fixed_s / _LOST)
        self.part = self.batch if self._each_s * self.batch <= short else max(1, int(short / self._each_s))

    def of(self, count: int) -> float:
        """Seconds until so many inputs are predicted, in full batches."""
        return self._pace * (-(-count // self.batch) * self._fixed_s + count * self._each_s)

    def even(self, count: int) -> int:
        """Inputs per run, so that so many in all make batches of one size.

        A small rest behind full ones would wait for a whole batch more than the others."""
        return -(-count // -(-count // self.batch)) if count > self.batch else self.batch

    def within(self, seconds: float) -> int:
        """So many inputs certainly take no longer."""
        return max(0, int(seconds / (self._pace * (self._fixed_s / self.batch + self._each_s))) - self.batch)

    def learn(self, count: int, seconds: float) -> None:
        """A batch of so many inputs took so long, from when it could begin."""
        expected = self.of(count)
        self._pace += _WEIGHT * self._pace * (min(seconds / expected, _MOST) - 1.0)
