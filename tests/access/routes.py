"""Every address of the web process, as the resolver spells it."""

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from django.urls import URLPattern, URLResolver, get_resolver


class Route(NamedTuple):
    """`path` is the pattern; `methods` what a DRF view takes, empty for page views, which do not say."""

    path: str
    methods: frozenset[str]

    @property
    def is_api(self) -> bool:
        return self.path.startswith("api/")


def routes() -> list[Route]:
    """All of them, in the order of the resolver."""
    return list(_walk(get_resolver(), ""))


def _walk(resolver: URLResolver, prefix: str) -> Iterator[Route]:
    for pattern in resolver.url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLPattern):
            yield Route(path, _methods(pattern.callback))
        else:
            yield from _walk(pattern, path)


def _methods(view: Any) -> frozenset[str]:
    handlers = getattr(view, "cls", None)
    if handlers is None:
        return frozenset()
    known = ("get", "post", "put", "patch", "delete", "head")
    return frozenset(method.upper() for method in known if hasattr(handlers, method))


_ARGUMENT = re.compile(r"<(?:\w+:)?(\w+)>|\(\?P<(\w+)>[^)]*\)")


def fill(path: str, arguments: dict[str, str]) -> str:
    """The address of a pattern with these arguments."""
    filled = _ARGUMENT.sub(lambda match: arguments[match.group(1) or match.group(2)], path)
    return "/" + filled.replace("^", "").replace("$", "")
