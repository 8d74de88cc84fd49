"""The embedded Redis keeps serving and runners to what is theirs. That they can work so, all of their tests show."""

from urllib.parse import urlsplit

import pytest
import redis

from slipway import redis_users
from workers.contracts import names

FOREIGN = [
    ("CONFIG", "GET", "*"),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("FLUSHALL",),
    ("DEBUG", "SLEEP", "0"),
    ("ACL", "LIST"),
    ("SHUTDOWN", "NOSAVE"),
    ("GET", "secret"),
    ("XADD", "secret", "*", "r", "1"),
    ("SUBSCRIBE", "secret"),
]
OF_SERVING = [("EVAL", "return 1", "0"), ("XRANGE", names.STREAM_USAGE, "-", "+"), ("LPUSH", names.QUEUE_INGEST, "job")]
OF_SERVING += [("SET", names.lease_key("job"), "1"), ("XADD", names.STREAM_EVENTS, "*", "r", "1")]
OF_RUNNERS = [("GET", names.SNAPSHOT), ("LPUSH", names.QUEUE_CONTROL, "x")]
OF_RUNNERS += [("XADD", names.STREAM_FEEDBACK, "*", "r", "1")]


@pytest.mark.parametrize("role", ["serving", "runner"])
def test_what_is_not_theirs_is_refused(redis_server: str, role: redis_users.Role) -> None:
    with redis.Redis.from_url(redis_users.url_of(redis_server, role)) as client:
        assert client.ping()
        for words in (*FOREIGN, *(OF_SERVING if role == "serving" else OF_RUNNERS)):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*words)


def test_a_role_does_not_know_the_password_of_another(redis_server: str) -> None:
    roles: tuple[redis_users.Role, ...] = ("serving", "runner")
    urls = [redis_users.url_of(redis_server, role) for role in roles]
    passwords = {str(urlsplit(url).password) for url in urls}
    assert len(passwords) == 2 and not any(password in redis_server for password in passwords)
    for url, role in zip(urls, roles, strict=True):
        wrong = url.replace(f"{role}:", "default:")
        with redis.Redis.from_url(wrong) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
