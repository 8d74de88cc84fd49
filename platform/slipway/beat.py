"""Celery's beat, for a clock that is set back: by itself it would do nothing until the clock has caught up."""

from typing import Any

from celery.beat import PersistentScheduler


class Scheduler(PersistentScheduler):  # type: ignore[misc]  # celery has no types
    """What was last done in the future was done now."""

    def tick(self, *args: Any, **kwargs: Any) -> float:
        """Celery: send what is due; how many seconds to wait."""
        for entry in self.schedule.values():
            if entry.last_run_at > (now := entry.default_now()):
                entry.last_run_at = now
                self._heap = None
        wait_s: float = super().tick(*args, **kwargs)
        return wait_s
