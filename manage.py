#!/usr/bin/env python
"""Django's command line for Slipway: `python manage.py COMMAND`."""

import os
import sys
from pathlib import Path

# platform/ is a plain folder, not a package: `platform` is a module of the standard library.
sys.path.insert(0, str(Path(__file__).resolve().parent / "platform"))


def main() -> None:
    """Run one management command."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "slipway.settings")
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
