"""The real engine, which saves a checkpoint ten times a second instead of every quarter of a minute."""

import sys

from workers.engine import __main__ as engine
from workers.engine import loop

if __name__ == "__main__":
    loop.CHECKPOINT_SECONDS = 0.1
    sys.exit(engine.main(sys.argv[1:]))
