"""Identifiers: a short prefix that says what it is, and 120 random bits."""

import secrets
from functools import partial
from typing import Any

from django.db import models

_ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"


def new_id(prefix: str) -> str:
    """`prefix_` and 24 characters of base32: opaque, unguessable, safe in addresses, storage keys and logs."""
    return f"{prefix}_" + "".join(secrets.choice(_ALPHABET) for _ in range(24))


class IdField(models.CharField):  # type: ignore[type-arg]
    """A primary key made by `new_id`."""

    def __init__(self, prefix: str = "", **kwargs: Any) -> None:
        self.prefix = prefix
        kwargs.update(
            max_length=32,
            primary_key=True,
            editable=False,
            default=partial(new_id, prefix),
        )
        super().__init__(**kwargs)

    def deconstruct(self) -> Any:
        name, path, args, kwargs = super().deconstruct()
        for option in ("max_length", "primary_key", "editable", "default"):
            kwargs.pop(option, None)
        return name, path, args, {**kwargs, "prefix": self.prefix}
