"""The real engine, which saves a checkpoint every second instead of every quarter of a minute."""

import sys

from workers.engine import __main__ as engine
from workers.engine import loop

if __name__ == "__main__":
    loop.CHECKPOINT_EVERY_S = 1.0
    sys.exit(engine.main(sys.argv[1:]))
