"""The artifact store of this installation, as the control plane reaches it."""

from functools import cache

from django.conf import settings

from workers.storage import Storage, open_storage


def storage() -> Storage:
    """The store that SLIPWAY_STORAGE names."""
    return _open(str(settings.SLIPWAY_STORAGE))


# By address, so that a test with a folder of its own gets that one.
_open = cache(open_storage)
