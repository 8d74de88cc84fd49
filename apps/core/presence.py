"""Which runners and serving processes are alive, by what they say of themselves in Redis."""

from collections.abc import Callable
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from apps.core import redis_client

Status = TypeVar("Status", bound=BaseModel)


def present(listed: str, key_of: Callable[[str], str], shape: type[Status]) -> list[Status]:
    """What those of a set say, in the order of their names; who has said nothing for too long is taken out of the set.

    Raises redis.RedisError.
    """
    client = redis_client.client()
    members = sorted(str(name) for name in client.smembers(listed))
    if not members:
        return []
    said = dict(zip(members, client.mget([key_of(name) for name in members]), strict=True))
    # One that was only away for a while is in it again with its next word.
    if silent := [name for name, text in said.items() if text is None]:
        client.srem(listed, *silent)
    return [status for text in said.values() if text and (status := _read(shape, str(text)))]


def _read(shape: type[Status], text: str) -> Status | None:
    try:
        return shape.model_validate_json(text)
    except ValidationError:
        return None  # of another version
