"""What is seen of requests that have ended: they are counted, logged and, where that is asked for, traced."""

import time
from typing import TYPE_CHECKING

from workers.serving.access_log import AccessLog
from workers.serving.exchange import Exchange
from workers.serving.metrics import EndpointCounts

if TYPE_CHECKING:
    from workers.serving.tracing import Tracer


class Observer:
    """Called once for each metered request."""

    def __init__(self, access_log: AccessLog, tracer: "Tracer | None") -> None:
        self.access_log = access_log
        self.tracer = tracer
        # By slug; "" is nobody's: the key or the endpoint is unknown, or they do not belong together.
        self.counts: dict[str, EndpointCounts] = {"": EndpointCounts()}

    def ended(self, exchange: Exchange) -> None:
        """A request was answered or refused."""
        if self.tracer is not None and exchange.moments is not None:
            self.tracer.ended(exchange, exchange.moments)
        counts, status = self._counts_of(exchange), exchange.status
        counts.statuses[status // 100] += 1
        counts.bytes_in += exchange.bytes_in
        counts.bytes_out += exchange.bytes_out
        if status == 200:
            counts.items += exchange.items
            counts.replays += exchange.is_replay
            counts.latency.add(int((time.perf_counter() - exchange.started) * 1e6))
            counts.queue.add(exchange.queue_us)
            if self.access_log.all:
                self.access_log.write(exchange.record())
            return
        code = exchange.code or "internal_error"
        counts.errors[code] = counts.errors.get(code, 0) + 1
        if self.access_log.refusals:
            self.access_log.write(exchange.record())

    async def stop(self) -> None:
        """Write and send what is left."""
        self.access_log.flush()
        if self.tracer is not None:
            await self.tracer.stop()

    def left(self, exchange: Exchange) -> None:
        """A client hung up before there was an answer."""
        self._counts_of(exchange).left += 1

    def _counts_of(self, exchange: Exchange) -> EndpointCounts:
        slug = exchange.route.slug if exchange.route is not None else ""
        counts = self.counts.get(slug)
        if counts is None:
            counts = self.counts[slug] = EndpointCounts()
        return counts
