"""The Open Inference Protocol, version 2, over HTTP: JSON tensors and the binary tensor data extension.

Inputs are what people have, in one BYTES tensor: texts, encoded image files, users, or rows as JSON
objects; pairs of texts in two, `text` and `text_pair`. Shared memory, model
control, tracing and logging of other servers do not exist here.
"""

import math
import struct
from concurrent.futures import Executor
from typing import Any, Final

import numpy as np
import orjson

from workers.contracts.errors import UserError
from workers.contracts.kinds import KINDS
from workers.inference.core import Predictor
from workers.serving import bodies
from workers.serving.config import MAX_INPUTS
from workers.serving.cycle import Headers, Receive
from workers.serving.replies import JSON

_PAIR: Final = ("text", "text_pair")
INPUT_NAMES: Final[dict[str, str]] = {name: kind.tensor for name, kind in KINDS.items()}
_LENGTH: Final = b"inference-header-content-length"
_MAX_HEADER_DIGITS: Final = 9
# Parameters of a request that are handed on with each user.
_RECOMMENDATION_PARAMETERS: Final = ("k", "exclude_seen")


class Request:
    """A parsed infer request: raw inputs, and how the answer is wanted. `outputs` maps names to "as binary data"."""

    __slots__ = ("binary_default", "bytes_in", "id", "outputs", "raws")

    def __init__(self, head: dict[str, Any], raws: list[Any], bytes_in: int) -> None:
        self.raws = raws
        self.bytes_in = bytes_in
        self.id = head.get("id")
        if self.id is not None and not isinstance(self.id, str):
            raise UserError("input_invalid", "The request's id has to be a string.")
        self.binary_default = _parameters(head).get("binary_data_output") is True
        self.outputs = _wanted(head.get("outputs"), self.binary_default)


async def read(receive: Receive, headers: dict[bytes, bytes], kind: str, limit: int, pool: Executor) -> Request:
    """An infer request. Raises UserError, ClientGone."""
    name, _ = bodies.media_type(headers)
    if name not in ("", "application/json", "application/octet-stream"):
        raise UserError("unsupported_media_type", "Infer requests are application/json or application/octet-stream.")
    body = await bodies.read_content(receive, headers, limit, pool)
    json_part, binary = body, b""
    if (text := headers.get(_LENGTH)) is not None:
        if not text.isdigit() or len(text) > _MAX_HEADER_DIGITS or int(text) > len(body):
            raise UserError("bad_request", "Inference-Header-Content-Length does not fit the body.")
        json_part, binary = body[: int(text)], body[int(text) :]
    head = await bodies.parse_json(json_part, pool)
    if not isinstance(head, dict):
        raise UserError("input_invalid", "An infer request is a JSON object.")
    tensors = head.get("inputs")
    if kind == "text" and isinstance(tensors, list) and len(tensors) == 2:
        raws = _pairs(tensors, binary)
    else:
        if not isinstance(tensors, list) or len(tensors) != 1 or not isinstance(tensors[0], dict):
            raise UserError("input_invalid", f"Exactly one input tensor is expected: BYTES `{INPUT_NAMES[kind]}`.")
        raws = _raw_inputs(_tensor_values(tensors[0], binary, kind), head, kind)
    return Request(head, bodies.checked_count(raws, kind), len(body))


def _parameters(part: dict[str, Any]) -> dict[str, Any]:
    parameters = part.get("parameters", {})
    if not isinstance(parameters, dict):
        raise UserError("input_invalid", "`parameters` has to be an object.")
    if any("shared_memory" in name for name in parameters):
        raise UserError("input_invalid", "There is no shared memory here: send the data in the request.")
    return parameters


def _wanted(outputs: Any, default: bool) -> dict[str, bool] | None:
    """The outputs asked for, and whether as binary data; None is all of them."""
    if outputs is None or outputs == []:
        return None
    if not isinstance(outputs, list) or len(outputs) > 16:
        raise UserError("input_invalid", "`outputs` has to be a short list.")
    wanted = {}
    for output in outputs:
        if not isinstance(output, dict) or not isinstance(output.get("name"), str):
            raise UserError("input_invalid", "Each of `outputs` needs a name.")
        parameters = _parameters(output)
        if parameters.get("classification"):
            raise UserError("input_invalid", "The classification extension is not spoken here: ask for `scores`.")
        wanted[output["name"]] = parameters.get("binary_data", default) is True
    return wanted


def _pairs(tensors: list[Any], binary: bytes) -> list[dict[str, str]]:
    """Pairs of texts, out of two tensors of equal length; their binary data stand in the order of the tensors."""
    found: dict[str, list[str]] = {}
    for tensor in tensors:
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if name not in _PAIR or name in found:
            raise UserError("input_invalid", "Two input tensors are BYTES `text` and `text_pair`.")
        size = _parameters(tensor).get("binary_data_size")
        own = binary
        if len(found) == 0:
            # What is left has to fit the second.
            here = size if isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= len(binary) else 0
            own, binary = binary[:here], binary[here:]
        values = _tensor_values(tensor, own, "text")
        found[name] = [_as_text(value, index) for index, value in enumerate(values)]
    if len(found["text"]) != len(found["text_pair"]):
        raise UserError("input_invalid", "`text` and `text_pair` have to be of the same length.")
    both = zip(found["text"], found["text_pair"], strict=True)
    return [{"text": text, "text_pair": pair} for text, pair in both]


def _tensor_values(tensor: dict[str, Any], binary: bytes, kind: str) -> list[Any]:
    """The elements of an input tensor, as bytes or str; `binary` is its own data."""
    if tensor.get("datatype") != "BYTES":
        raise UserError("input_invalid", f"The tensor `{INPUT_NAMES[kind]}` has the datatype BYTES.")
    count = _element_count(tensor.get("shape"), kind)
    size = _parameters(tensor).get("binary_data_size")
    if size is not None:
        if not isinstance(size, int) or isinstance(size, bool) or size != len(binary) or "data" in tensor:
            raise UserError("input_invalid", "`binary_data_size` does not fit the body.")
        return _split_bytes(binary, count)
    if binary:
        raise UserError("input_invalid", "There is binary data that no tensor claims.")
    data = tensor.get("data")
    values = _flat(data) if isinstance(data, list) else None
    if values is None or len(values) != count or not all(isinstance(value, str) for value in values):
        raise UserError("input_invalid", "`data` has to be a list of as many strings as the shape says.")
    return values


def _element_count(shape: Any, kind: str) -> int:
    """The product of a shape, refused before anything is allocated for it."""
    if not isinstance(shape, list) or not 1 <= len(shape) <= 4:
        raise UserError("input_invalid", "`shape` has to be a list of one to four sizes.")
    if not all(isinstance(size, int) and not isinstance(size, bool) and 0 < size < 2**31 for size in shape):
        raise UserError("input_invalid", "Every size in `shape` has to be a positive whole number.")
    count = math.prod(shape)
    if count > MAX_INPUTS[kind]:
        most = MAX_INPUTS[kind]
        raise UserError("too_many_inputs", f"At most {most} inputs per request.", limit=most)
    return count


def _flat(data: list[Any]) -> list[Any]:
    """Nested rows as one list; three levels at most."""
    for _ in range(3):
        if not any(isinstance(value, list) for value in data):
            break
        data = [inner for value in data for inner in (value if isinstance(value, list) else [value])]
    return data


def _split_bytes(binary: bytes, count: int) -> list[bytes]:
    """BYTES elements: each four bytes of length, little-endian, then as many bytes."""
    values: list[bytes] = []
    at = 0
    while at < len(binary) and len(values) < count:
        if len(binary) - at < 4:
            break
        (length,) = struct.unpack_from("<I", binary, at)
        if length > len(binary) - at - 4:
            raise UserError("input_invalid", "An element is longer than the body.", index=len(values))
        values.append(binary[at + 4 : at + 4 + length])
        at += 4 + length
    if at != len(binary) or len(values) != count:
        raise UserError("input_invalid", "The binary data does not hold as many elements as the shape says.")
    return values


def _raw_inputs(values: list[Any], head: dict[str, Any], kind: str) -> list[Any]:
    """What the predictor takes: texts as str, images as bytes (base64 in JSON), users as objects."""
    if kind == "image":
        return values
    texts = [_as_text(value, index) for index, value in enumerate(values)]
    if kind == "text":
        return texts
    if kind == "tabular":
        return [_as_row(text, index) for index, text in enumerate(texts)]
    parameters = _parameters(head)
    options = {name: parameters[name] for name in _RECOMMENDATION_PARAMETERS if name in parameters}
    return [{"user": text, **options} for text in texts]


def _as_text(value: Any, index: int) -> str:
    if isinstance(value, str):
        return value
    try:
        return bytes(value).decode("utf-8")
    except UnicodeDecodeError:
        raise UserError("input_invalid", "The text is not valid UTF-8.", index=index) from None


def _as_row(text: str, index: int) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise UserError("input_invalid", "The row is not valid JSON.", index=index) from None


# --- Answers ---


def outputs_of(kind: str, labels: list[str], several: bool) -> list[dict[str, Any]]:
    """The output tensors of an endpoint, as its metadata tells them; `several`: an input may have several labels."""
    if kind == "recommendation":
        return [_described("items", "BYTES", [-1, -1]), _described("score", "FP32", [-1, -1])]
    return [
        *([_described("labels", "BYTES", [-1, -1])] if several else []),
        _described("label", "BYTES", [-1]),
        _described("score", "FP32", [-1]),
        _described("scores", "FP32", [-1, len(labels)]),
    ]


def metadata(slug: str, kind: str, predictor: Predictor, versions: list[str]) -> dict[str, Any]:
    """The answer to GET /v2/models/{slug}."""
    inputs = _PAIR if getattr(predictor, "pairs", False) else (INPUT_NAMES[kind],)
    return {
        "name": slug,
        "versions": versions,
        "platform": "onnxruntime_onnx",
        "inputs": [_described(name, "BYTES", [-1]) for name in inputs],
        "outputs": outputs_of(kind, predictor.labels, bool(getattr(predictor, "thresholds", None))),
    }


def _described(name: str, datatype: str, shape: list[int]) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape}


def answer(
    request: Request, slug: str, version: str, kind: str, labels: list[str], predictions: list[dict[str, Any]]
) -> tuple[bytes, Headers]:
    """The body and headers of an infer response. Raises UserError where an unknown output is asked for."""
    tensors = _ranked(predictions) if kind == "recommendation" else _labelled(predictions, labels)
    wanted = request.outputs
    if wanted is None:
        wanted = dict.fromkeys(tensors, request.binary_default)
    if unknown := [name for name in wanted if name not in tensors]:
        raise UserError("input_invalid", f"There is no output `{unknown[0][:60]}`: there are {', '.join(tensors)}.")
    outputs, chunks = [], []
    for name, binary in wanted.items():
        values, datatype = tensors[name]
        tensor: dict[str, Any] = {"name": name, "datatype": datatype, "shape": list(values.shape)}
        if binary:
            chunk = _packed(values) if datatype == "BYTES" else values.astype("<f4").tobytes()
            tensor["parameters"] = {"binary_data_size": len(chunk)}
            chunks.append(chunk)
        else:
            tensor["data"] = values.ravel().tolist()
        outputs.append(tensor)
    head = {"model_name": slug, "model_version": version, "outputs": outputs}
    if request.id is not None:
        head["id"] = request.id
    json_part = orjson.dumps(head)
    if not chunks:
        return json_part, [JSON]
    length = (_LENGTH, str(len(json_part)).encode())
    return b"".join([json_part, *chunks]), [(b"content-type", b"application/octet-stream"), length]


def _labelled(predictions: list[dict[str, Any]], labels: list[str]) -> dict[str, tuple[np.ndarray, str]]:
    several = {"labels": (_filled([p["labels"] for p in predictions]), "BYTES")} if "labels" in predictions[0] else {}
    return several | {
        "label": (np.array([p["label"] for p in predictions], dtype=object), "BYTES"),
        "score": (np.array([p["score"] for p in predictions], dtype=np.float32), "FP32"),
        "scores": (np.array([[p["scores"][label] for label in labels] for p in predictions], dtype=np.float32), "FP32"),
    }


def _filled(lists: list[list[str]]) -> np.ndarray:
    """Rows of names; a shorter one is filled up with empty ones."""
    filled = np.full((len(lists), max(1, *map(len, lists))), "", dtype=object)
    for row, names in enumerate(lists):
        filled[row, : len(names)] = names
    return filled


def _ranked(predictions: list[dict[str, Any]]) -> dict[str, tuple[np.ndarray, str]]:
    """Rows of items and scores; a shorter list is filled up with empty items of score 0."""
    items = _filled([[entry["item"] for entry in prediction["items"]] for prediction in predictions])
    scores = np.zeros(items.shape, dtype=np.float32)
    for row, prediction in enumerate(predictions):
        scores[row, : len(prediction["items"])] = [entry["score"] for entry in prediction["items"]]
    return {"items": (items, "BYTES"), "score": (scores, "FP32")}


def _packed(values: np.ndarray) -> bytes:
    encoded = [str(value).encode() for value in values.ravel()]
    return b"".join(struct.pack("<I", len(value)) + value for value in encoded)
