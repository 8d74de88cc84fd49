"""Predict with a Slipway bundle: raw inputs in, labels out.

    python predict.py "some text"
    python predict.py photo.jpg
    python predict.py --user u1 --k 10

This one file is the served path. The hosted endpoint, the evaluation behind the parity certificate and the downloaded
bundle (where it is called predict.py) all run it. It needs numpy, onnxruntime and, as the bundle asks, tokenizers or
Pillow; it imports nothing of Slipway.
"""

import argparse
import base64
import binascii
import io
import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

MAX_IMAGE_PIXELS = 50_000_000
# Most items that one ranked answer, or one list of items to start from, may hold.
MAX_RANKED = 1000
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


class InputError(ValueError):
    """An input is not what the model takes. `index` is its place in `inputs`; None where the whole body is wrong."""

    def __init__(self, index: int | None, message: str) -> None:
        self.index = index
        self.message = message
        super().__init__(message if index is None else f"input {index}: {message}")


class Predictor(ABC):
    """A loaded bundle.

    A raw input (what a client sends: text, an encoded image, a user) becomes an item by `prepare`; `predict` answers
    many items with one run of the model. Items of different requests may be predicted together. Thread-safe.
    """

    def __init__(
        self,
        folder: Path,
        manifest: dict[str, Any],
        providers: list[str],
        threads: int | None,
    ) -> None:
        self.manifest = manifest
        self.labels: list[str] = manifest["labels"]

    @abstractmethod
    def prepare(self, raw: Any, index: int = 0) -> Any:
        """One item from one raw input. Raises InputError."""

    @abstractmethod
    def predict(self, items: Sequence[Any]) -> list[dict[str, Any]]:
        """One prediction per item, in order."""

    @abstractmethod
    def raw_inputs(self, arguments: argparse.Namespace) -> list[Any]:
        """The raw inputs that a command line names."""

    def parse(self, body: Any) -> list[Any]:
        """Items from the body of a request: {"inputs": [...]} or the list itself. Raises InputError."""
        if isinstance(body, dict):
            unknown = sorted(set(body) - {"inputs"})
            if unknown:
                raise InputError(None, f'Unknown field "{unknown[0]}": send {{"inputs": [...]}}.')
            body = body.get("inputs")
        if not isinstance(body, list):
            raise InputError(None, 'Send {"inputs": [...]} with a list of inputs.')
        if not body:
            raise InputError(None, "The list of inputs is empty.")
        return [self.prepare(raw, index) for index, raw in enumerate(body)]


class LabelPredictor(Predictor):
    """A classifier: model.onnx takes one array named `input_name` and gives `scores`, float32 [batch, labels]."""

    input_name: ClassVar[str]

    def __init__(
        self,
        folder: Path,
        manifest: dict[str, Any],
        providers: list[str],
        threads: int | None,
    ) -> None:
        super().__init__(folder, manifest, providers, threads)
        self._session = open_session(folder / "model.onnx", providers, threads)

    @abstractmethod
    def batch(self, items: Sequence[Any]) -> np.ndarray:
        """The model's input for some items, first axis the batch."""

    def scores(self, items: Sequence[Any]) -> np.ndarray:
        """Probabilities, float32 [items, labels]; each row sums to 1."""
        scores: np.ndarray = self._session.run(["scores"], {self.input_name: self.batch(items)})[0]
        if len(scores) != len(items):
            raise RuntimeError(f"the model gave {len(scores)} answers to {len(items)} inputs")
        return scores

    def predict(self, items: Sequence[Any]) -> list[dict[str, Any]]:
        """[{"label", "score", "scores": {label: probability}}], probabilities with six decimals."""
        if not items:
            return []
        scores = self.scores(items)
        best = scores.argmax(axis=1).tolist()
        rows = scores.astype(np.float64).round(6).tolist()
        labels = self.labels
        return [
            {
                "label": labels[top],
                "score": row[top],
                "scores": dict(zip(labels, row, strict=True)),
            }
            for top, row in zip(best, rows, strict=True)
        ]


class TextLabels(LabelPredictor):
    """Text → label. An item is a text, cut to the manifest's `max_chars`."""

    input_name = "token_ids"

    def __init__(
        self,
        folder: Path,
        manifest: dict[str, Any],
        providers: list[str],
        threads: int | None,
    ) -> None:
        super().__init__(folder, manifest, providers, threads)
        from tokenizers import Tokenizer

        settings = manifest["preprocessing"]
        self._max_chars: int = settings["max_chars"]
        self._max_tokens: int = settings["max_tokens"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))

    def prepare(self, raw: Any, index: int = 0) -> str:
        """The text itself, or {"text": ...}."""
        if isinstance(raw, dict) and set(raw) == {"text"}:
            raw = raw["text"]
        if not isinstance(raw, str):
            raise InputError(index, "A text is expected, as a JSON string.")
        if not raw.strip():
            raise InputError(index, "The text is empty.")
        return clean_text(raw, self._max_chars)

    def batch(self, items: Sequence[Any]) -> np.ndarray:
        """Token ids, int64 [items, tokens]."""
        return pad_ids(encode_texts(self._tokenizer, items), self._max_tokens)

    def raw_inputs(self, arguments: argparse.Namespace) -> list[Any]:
        """Each argument is a text."""
        return list(arguments.inputs)


class ImageLabels(LabelPredictor):
    """Image → label. An item is the decoded image, uint8 [height, width, 3], in the manifest's size."""

    input_name = "images"

    def __init__(
        self,
        folder: Path,
        manifest: dict[str, Any],
        providers: list[str],
        threads: int | None,
    ) -> None:
        super().__init__(folder, manifest, providers, threads)
        settings = manifest["preprocessing"]
        self._size = (int(settings["height"]), int(settings["width"]))

    def prepare(self, raw: Any, index: int = 0) -> np.ndarray:
        """The bytes of an image file, or {"image": those bytes in base64}."""
        if isinstance(raw, dict) and set(raw) == {"image"}:
            raw = raw["image"]
        if isinstance(raw, str):
            # A data URL is what browsers make of a file.
            encoded = raw.partition(",")[2] if raw.startswith("data:") else raw
            try:
                raw = base64.b64decode("".join(encoded.split()), validate=True)
            except (binascii.Error, ValueError):
                raise InputError(index, "The image is not valid base64.") from None
        if not isinstance(raw, bytes):
            raise InputError(index, 'An image is expected: the file itself, or {"image": base64}.')
        return decode_image(raw, self._size, index)

    def batch(self, items: Sequence[Any]) -> np.ndarray:
        """Pixels, uint8 [items, height, width, 3]."""
        return np.stack(items)

    def raw_inputs(self, arguments: argparse.Namespace) -> list[Any]:
        """Each argument is the path of an image file."""
        return [Path(name).read_bytes() for name in arguments.inputs]


def clean_text(text: str, max_chars: int) -> str:
    """The beginning of a text, without half surrogate pairs, which no tokenizer takes."""
    text = text[:max_chars]
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of some texts; the tokenizer's own file says how it normalises and cuts."""
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


def pad_ids(ids: Sequence[Any], max_tokens: int) -> np.ndarray:
    """int64 [texts, length], padded with 0. Lengths go in steps, so that the runtime's memory sees few shapes."""
    longest = min(max(map(len, ids)), max_tokens)
    step = 16 if longest <= 128 else 64
    padded = np.zeros((len(ids), max(1, -(-longest // step)) * step), dtype=np.int64)
    for row, tokens in zip(padded, ids, strict=True):
        row[: min(len(tokens), max_tokens)] = tokens[:max_tokens]
    return padded


def decode_image(data: bytes, size: tuple[int, int], index: int = 0) -> np.ndarray:
    """An encoded image as uint8 [height, width, 3], stretched to `size` (height, width). Raises InputError.

    The first frame counts; the camera's orientation is applied; transparent parts become white; grey and palette images
    become RGB. Training reads its images with this very function.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    height, width = size
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise InputError(index, f"The image has more than {MAX_IMAGE_PIXELS:,} pixels.")
            # JPEG decodes at 1/2, 1/4 or 1/8 almost for free; twice the wanted size keeps the resize sharp.
            image.draft("RGB", (2 * width, 2 * height))
            image.load()
            upright = ImageOps.exif_transpose(image)
            resized = _to_rgb(upright).resize((width, height), Image.Resampling.BICUBIC, reducing_gap=3.0)
            return np.asarray(resized, dtype=np.uint8)
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(
            index,
            f"The file is not an image in one of the formats {', '.join(IMAGE_FORMATS)}.",
        ) from None
    except Exception as error:
        # Pillow's decoders raise almost anything on damaged files: OSError, SyntaxError, struct.error, IndexError, ...
        raise InputError(index, f"The image cannot be decoded: {error}"[:200]) from None


def _to_rgb(image: Any) -> Any:
    """Any mode of Pillow as RGB, on white where the image is transparent."""
    from PIL import Image

    if image.mode == "RGB":
        return image
    if image.mode.startswith(("I", "F")):
        # 16-bit grey: convert("L") would clip everything above 255 to white.
        values = np.asarray(image, dtype=np.float32)
        scale = 255.0 / max(float(values.max(initial=0.0)), 255.0) if image.mode != "I;16" else 255.0 / 65535.0
        return Image.fromarray((values * scale).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, seen).convert("RGB")
    return image.convert("RGB")


def open_session(model: Path, providers: list[str], threads: int | None) -> Any:
    """An onnxruntime session on `threads` cores (None: all), made from bytes: no file beside the model is ever read."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or 0
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Shapes vary from batch to batch: remembered memory patterns would only pile up.
    options.enable_mem_pattern = False
    # Idle threads sleep instead of burning the cores that other models share.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model.read_bytes(), options, providers=providers)


class Query(NamedTuple):
    """A history with its weights, the items not to return, how many to return, and whether no taste is known."""

    history: np.ndarray
    weights: np.ndarray
    left_out: np.ndarray
    k: int
    fallback: bool


class RankedItems(Predictor):
    """User, or items → the best further items. A user is their history, which the bundle holds.

    model.onnx takes `history` int64 [batch, length] (item numbers, padded with the number of items) and `weights`
    float32 of that shape (padded with 0), and gives `scores` float32 [batch, items]. Items are numbered by popularity:
    of equal scores the more popular item's comes first. Who has no history gets the most popular items.
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], providers: list[str], threads: int | None) -> None:
        super().__init__(folder, manifest, providers, threads)
        settings = manifest["preprocessing"]
        self._k: int = settings["k"]
        # Numbers that the model gathers per item of a history: this bounds a run's memory.
        self._width: int = settings["width"]
        self.items: list[str] = json.loads((folder / "items.json").read_text(encoding="utf-8"))
        users = json.loads((folder / "users.json").read_text(encoding="utf-8"))
        self._number = {item: number for number, item in enumerate(self.items)}
        self._user = {user: number for number, user in enumerate(users)}
        with np.load(folder / "histories.npz", allow_pickle=False) as arrays:
            self._starts = arrays["starts"]
            self._history = arrays["items"]
            self._weights = arrays.get("weights")
            self._popularity = arrays["popularity"]
        whole = len(self._starts) == len(users) + 1 and self._starts[-1] == len(self._history)
        if not whole or len(self._popularity) != len(self.items):
            raise ValueError("histories.npz does not belong to items.json and users.json")
        self._session = open_session(folder / "model.onnx", providers, threads)

    def prepare(self, raw: Any, index: int = 0) -> Query:
        """{"user": id} or {"items": [ids]}, with "k" and "exclude_seen" as wished; a string alone is a user."""
        if isinstance(raw, str):
            raw = {"user": raw}
        if not isinstance(raw, dict):
            raise InputError(index, 'Send {"user": "…"} or {"items": ["…", …]}.')
        if unknown := sorted(set(raw) - {"user", "items", "k", "exclude_seen"}):
            raise InputError(index, f'Unknown field "{unknown[0]}": send user or items, k, exclude_seen.')
        if ("user" in raw) == ("items" in raw):
            raise InputError(index, "Send either user or items.")
        k = raw.get("k", self._k)
        if isinstance(k, bool) or not isinstance(k, int) or not 1 <= k <= MAX_RANKED:
            raise InputError(index, f"k must be a whole number from 1 to {MAX_RANKED}.")
        exclude = raw.get("exclude_seen", True)
        if not isinstance(exclude, bool):
            raise InputError(index, "exclude_seen must be true or false.")
        if "user" in raw:
            history, weights = self._of_user(_identifier(raw["user"], "user", index))
        else:
            history, weights = self._of_items(raw["items"], index)
        used = weights > 0
        return Query(history[used], weights[used], history if exclude else history[:0], k, not used.any())

    def _of_user(self, user: str) -> tuple[np.ndarray, np.ndarray]:
        number = self._user.get(user)
        if number is None:
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        span = slice(self._starts[number], self._starts[number + 1])
        history = self._history[span].astype(np.int64)
        weights = np.ones(len(history), np.float32) if self._weights is None else self._weights[span]
        return history, weights

    def _of_items(self, items: Any, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not isinstance(items, list) or not items:
            raise InputError(index, "items must be a list of at least one item.")
        if len(items) > MAX_RANKED:
            raise InputError(index, f"items may hold at most {MAX_RANKED} items.")
        names = dict.fromkeys(_identifier(item, "item", index) for item in items)
        history = np.array([self._number[name] for name in names if name in self._number], np.int64)
        return history, np.ones(len(history), np.float32)

    def scores(self, items: Sequence[Query]) -> np.ndarray:
        """float32 [items, catalogue]: the model's, or the share of users who know an item where no taste is known."""
        scores = np.empty((len(items), len(self.items)), np.float32)
        scores[[row for row, query in enumerate(items) if query.fallback]] = self._popularity
        known = sorted(
            (row for row, query in enumerate(items) if not query.fallback), key=lambda row: len(items[row].history)
        )
        while known:
            # Similar lengths together; what one run gathers stays below 64 MB where it can.
            longest = len(items[known[-1]].history)
            rows = known[-max(1, 2**24 // (longest * self._width)) :]
            del known[-len(rows) :]
            history = np.full((len(rows), longest), len(self.items), np.int64)
            weights = np.zeros((len(rows), longest), np.float32)
            for place, row in enumerate(rows):
                length = len(items[row].history)
                history[place, :length], weights[place, :length] = items[row].history, items[row].weights
            scores[rows] = self._session.run(["scores"], {"history": history, "weights": weights})[0]
        return scores

    def predict(self, items: Sequence[Query]) -> list[dict[str, Any]]:
        """[{"items": [{"item", "score"}], "fallback"?: "popularity"}], best first; fewer than k where no more are."""
        if not items:
            return []
        scores = self.scores(items)
        rows = np.repeat(np.arange(len(items)), [len(query.left_out) for query in items])
        scores[rows, np.concatenate([query.left_out for query in items])] = -np.inf
        best, values = top_items(scores, max(query.k for query in items))
        answers = zip(items, best.tolist(), values.astype(np.float64).round(6).tolist(), strict=True)
        predictions = []
        for query, numbers, row in answers:
            pairs = zip(numbers[: query.k], row[: query.k], strict=True)
            ranked = [{"item": self.items[number], "score": score} for number, score in pairs if score != -np.inf]
            predictions.append({"items": ranked, "fallback": "popularity"} if query.fallback else {"items": ranked})
        return predictions

    def raw_inputs(self, arguments: argparse.Namespace) -> list[Any]:
        """One query per --user; the arguments without a name are the items of one more."""
        queries: list[Any] = [{"user": user, "k": arguments.k} for user in arguments.user]
        return [*queries, {"items": arguments.inputs, "k": arguments.k}] if arguments.inputs else queries


def _identifier(value: Any, what: str, index: int) -> str:
    """Ids are strings; a whole number is taken as its digits."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise InputError(index, f"The {what} must be a string.")
    return value


def top_items(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The k best columns of each row and their scores, best first, the lower column first among equals.

    `scores` is float [rows, columns] without NaN; both results are [rows, min(k, columns)].
    """
    rows, width = scores.shape
    k = min(k, width)
    least = np.partition(scores, width - k, axis=1)[:, width - k, None]
    row, column = np.nonzero(scores >= least)
    value = scores[row, column]
    order = np.lexsort((column, -value, row))
    best = order[np.searchsorted(row, np.arange(rows))[:, None] + np.arange(k)]
    return column[best], value[best]


PREDICTORS: dict[str, type[Predictor]] = {
    "text-labels": TextLabels,
    "image-labels": ImageLabels,
    "ranked-items": RankedItems,
}


def load(folder: str | Path, providers: list[str] | None = None, threads: int | None = None) -> Predictor:
    """Load an unzipped bundle. `providers` are onnxruntime's, CPU by default; `threads` per model run, None for all
    cores.

    Raises OSError, ValueError or KeyError where the folder holds no bundle.
    """
    folder = Path(folder)
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    if manifest["manifest_version"] != 1:
        raise ValueError(f"this bundle is of a newer kind ({manifest['manifest_version']}) than this program")
    return PREDICTORS[manifest["predictor"]](folder, manifest, providers or ["CPUExecutionProvider"], threads)


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Predict with the model in this folder; prints JSON.")
    parser.add_argument("inputs", nargs="*", help="texts, image files or items, as the model takes them")
    parser.add_argument(
        "--bundle",
        type=Path,
        default=Path(__file__).resolve().parent,
        help="another bundle's folder",
    )
    parser.add_argument(
        "--json",
        metavar="FILE",
        help='a request body {"inputs": [...]}; - reads standard input',
    )
    parser.add_argument(
        "--user",
        action="append",
        default=[],
        help="recommendation: a user; may be repeated",
    )
    parser.add_argument("--k", type=int, default=10, help="recommendation: how many items")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """The command line. Exit code 0, or 2 where an input cannot be used."""
    arguments = _arguments(argv)
    predictor = load(arguments.bundle)
    try:
        if arguments.json:
            source = sys.stdin.buffer.read() if arguments.json == "-" else Path(arguments.json).read_bytes()
            items = predictor.parse(json.loads(source))
        else:
            items = predictor.parse(predictor.raw_inputs(arguments))
    except (InputError, OSError, ValueError) as error:
        print(f"predict.py: {error}", file=sys.stderr)
        return 2
    answer = json.dumps({"predictions": predictor.predict(items)}, ensure_ascii=False, indent=2)
    sys.stdout.buffer.write(answer.encode("utf-8", "replace") + b"\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
