"""Reading request bodies: bounded before and while they are read, and turned into raw inputs."""

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import orjson
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from workers.contracts.errors import InfraError, UserError
from workers.serving import compression
from workers.serving.config import MAX_BODIES, MAX_INPUTS
from workers.serving.cycle import Receive

# Parsing more than this would keep the event loop from the sockets for milliseconds.
_PARSE_IN_THREAD = 2**20
_MAX_BOUNDARY = 70  # RFC 2046
_MAX_PART_HEADERS = 4096

# How long a client may take to send a body. The process says (SLIPWAY_SERVING_BODY_TIMEOUT_MS).
timeout_s = 30.0


class ClientGone(Exception):
    """The client hung up before its request was whole: there is nobody to answer."""


class Budget:
    """Bytes of bodies that the process holds, over all requests."""

    def __init__(self, limit: int = MAX_BODIES) -> None:
        self.left = limit

    def take(self, count: int) -> None:
        """Raises InfraError `overloaded`."""
        if count > self.left:
            raise InfraError("overloaded", retry_after=1)
        self.left -= count


def declared_length(headers: dict[bytes, bytes], limit: int) -> int | None:
    """Content-Length; None for a chunked body. Raises UserError `payload_too_large` before a byte is read."""
    text = headers.get(b"content-length")
    if text is None:
        return None
    # The HTTP parser has refused everything that is not a number.
    if int(text) > limit:
        raise UserError("payload_too_large", limit_bytes=limit)
    return int(text)


async def read(receive: Receive, limit: int, sink: Callable[[bytes], None] | None = None) -> bytes:
    """The whole body, of `limit` bytes at most; or each piece of it is given to `sink`.

    Call `declared_length` before. Raises UserError `payload_too_large` or `bad_request`, ClientGone.
    """
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message["body"]  # nearly always: it came with the headers
        if len(body) > limit:
            raise UserError("payload_too_large", limit_bytes=limit)
        if sink:
            sink(body)
        return body
    try:
        async with asyncio.timeout(timeout_s):
            return await _read_rest(receive, message, limit, sink)
    except TimeoutError:
        raise UserError("bad_request", f"The body did not arrive within {timeout_s:g} seconds.") from None


async def _read_rest(receive: Receive, message: Any, limit: int, sink: Callable[[bytes], None] | None) -> bytes:
    pieces, size = [], 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientGone
        piece = message.get("body", b"")
        size += len(piece)
        if size > limit:
            raise UserError("payload_too_large", limit_bytes=limit)
        if sink:
            sink(piece)
        else:
            pieces.append(piece)
        if not message.get("more_body"):
            return b"".join(pieces)
        message = await receive()


async def read_content(receive: Receive, headers: dict[bytes, bytes], limit: int, pool: Executor) -> bytes:
    """The whole body, unpacked where it is gzip; `limit` bounds it packed and unpacked. Raises as `read`."""
    packed = compression.is_packed(headers)
    body = await read(receive, limit)
    return await compression.unpack(body, limit, pool) if packed else body


async def parse_json(body: bytes, pool: Executor) -> Any:
    """`json_value`, in a thread where it is much."""
    if len(body) <= _PARSE_IN_THREAD:
        return json_value(body)
    return await asyncio.get_running_loop().run_in_executor(pool, json_value, body)


def json_value(body: bytes) -> Any:
    """The JSON value of a body. Raises UserError `malformed_json`."""
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise UserError("malformed_json", f"The body is not valid JSON: {error}"[:300]) from None


def media_type(headers: dict[bytes, bytes]) -> tuple[str, dict[bytes, bytes]]:
    """The content type in lower case, and its parameters."""
    text = headers.get(b"content-type", b"")
    if text == b"application/json":
        return "application/json", {}
    if b";" not in text:
        return text.decode("latin-1").strip().lower(), {}
    name, parameters = parse_options_header(text)
    return name.decode("latin-1").lower(), parameters


@dataclass(slots=True)
class Asked:
    """What a predict request asks: its raw inputs, the bytes of its body, whether the answers are to be explained."""

    raws: list[Any]
    size: int
    explain: bool = False


def asked_at_once(headers: dict[bytes, bytes], body: bytes, kind: str) -> Asked | None:
    """What a predict request asks whose small body is whole and not packed; None where `read_inputs` has to say.
    Raises UserError."""
    name, parameters = media_type(headers)
    if name == "application/json":
        raws, explain = inputs_of(json_value(body), kind)
        return Asked(raws, len(body), explain)
    if kind == "image" and name.startswith("image/"):
        return Asked([body], len(body))
    if kind == "image" and name == "multipart/form-data":
        files = _Files(parameters.get(b"boundary", b""), MAX_INPUTS[kind])
        files.feed(body)
        return Asked(files.finish(), files.size)
    return None


async def read_inputs(receive: Receive, headers: dict[bytes, bytes], kind: str, limit: int, pool: Executor) -> Asked:
    """What a predict request asks. Raises UserError, ClientGone."""
    name, parameters = media_type(headers)
    if name == "application/json":
        body = await read_content(receive, headers, limit, pool)
        raws, explain = inputs_of(await parse_json(body, pool), kind)
        return Asked(raws, len(body), explain)
    if kind == "image" and name.startswith("image/"):
        body = await read_content(receive, headers, limit, pool)
        return Asked([body], len(body))
    if kind == "image" and name == "multipart/form-data":
        files = _Files(parameters.get(b"boundary", b""), MAX_INPUTS[kind])
        if compression.is_packed(headers):
            files.feed(await read_content(receive, headers, limit, pool))
        else:
            await read(receive, limit, files.feed)
        return Asked(files.finish(), files.size)
    wanted = "application/json, image/* or multipart/form-data" if kind == "image" else "application/json"
    raise UserError("unsupported_media_type", f"This endpoint takes {wanted}.")


def inputs_of(body: Any, kind: str) -> tuple[list[Any], bool]:
    """The list `inputs` of a JSON body, and whether it says "explain": true. Raises UserError."""
    if not isinstance(body, dict) or not isinstance(body.get("inputs"), list):
        raise UserError("input_invalid", 'Send {"inputs": [...]} with a list of inputs.')
    if len(body) == 1:
        return checked_count(body["inputs"], kind), False
    if unknown := set(body) - {"inputs", "explain"}:
        raise UserError(
            "input_invalid",
            f'The field "{min(unknown)[:60]}" is not known: send {{"inputs": [...], "explain"?: true}}.',
        )
    if not isinstance(body["explain"], bool):
        raise UserError("input_invalid", '"explain" must be true or false.')
    return checked_count(body["inputs"], kind), body["explain"]


def checked_count(raws: list[Any], kind: str) -> list[Any]:
    """The inputs themselves, if there are some and not too many. Raises UserError."""
    if not raws:
        raise UserError("input_invalid", "There is no input in the request.")
    if len(raws) > MAX_INPUTS[kind]:
        raise UserError("too_many_inputs", f"At most {MAX_INPUTS[kind]} inputs per request.", limit=MAX_INPUTS[kind])
    return raws


class _Files:
    """Collects the files of a multipart body as it streams in."""

    def __init__(self, boundary: bytes, most: int) -> None:
        if not 0 < len(boundary) <= _MAX_BOUNDARY:
            raise UserError("bad_request", "The multipart boundary is missing or too long.")
        self.size = 0
        self._most = most
        self._files: list[bytes] = []
        self._pieces: list[bytes] = []
        self._header_bytes = 0
        self._is_file = self._ended = False
        self._field, self._value = b"", b""
        callbacks = {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self._pieces.append(data[start:end]),
            "on_part_end": self._end,
            "on_header_field": lambda data, start, end: self._header(data[start:end], b""),
            "on_header_value": lambda data, start, end: self._header(b"", data[start:end]),
            "on_header_end": self._header_end,
            "on_end": self._all,
        }
        self._parser = MultipartParser(boundary, callbacks)  # type: ignore[arg-type]

    def feed(self, piece: bytes) -> None:
        """Take the next bytes. Raises UserError."""
        self.size += len(piece)
        try:
            self._parser.write(piece)
        except FormParserError:
            raise UserError("bad_request", "The multipart body is not well formed.") from None

    def finish(self) -> list[bytes]:
        """The files. Raises UserError where the body ended early or held none."""
        if not self._ended:
            raise UserError("bad_request", "The multipart body ends too early.")
        if not self._files:
            raise UserError("input_invalid", "There is no file in the request.")
        return self._files

    def _begin(self) -> None:
        if len(self._files) >= self._most:
            raise UserError("too_many_inputs", f"At most {self._most} inputs per request.", limit=self._most)
        self._pieces, self._header_bytes, self._is_file = [], 0, False

    def _header(self, field: bytes, value: bytes) -> None:
        self._header_bytes += len(field) + len(value)
        if self._header_bytes > _MAX_PART_HEADERS:
            raise UserError("bad_request", "The headers of a multipart part are too long.")
        self._field += field
        self._value += value

    def _header_end(self) -> None:
        if self._field.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._is_file = b"filename" in options
        self._field, self._value = b"", b""

    def _end(self) -> None:
        if not self._is_file:
            index = len(self._files)
            raise UserError("input_invalid", "Every part of the request has to be a file.", index=index)
        self._files.append(b"".join(self._pieces))

    def _all(self) -> None:
        self._ended = True
