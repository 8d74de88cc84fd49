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
from typing import Any, ClassVar

import numpy as np

MAX_IMAGE_PIXELS = 50_000_000
IMAGE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")


class InputError(ValueError):
    """An input is not what the model takes. `index` is its place in `inputs`; None where the whole body is wrong."""

    def __init__(self, index: int | None, message: str) -> None:
        self.index = index
        self.message = message
        super().__init__(message if index is None else f"input {index}: {message}")


class Predictor(ABC):
    """A loaded bundle.

    A raw input (what a client sends: text, an encoded image, a user) becomes an item by `prepare`; `predict` answers many
    items with one run of the model. Items of different requests may be predicted together. Thread-safe.
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


def pad_ids(ids: Sequence[Sequence[int]], max_tokens: int) -> np.ndarray:
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
    except Exception as error:  # noqa: BLE001
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


PREDICTORS: dict[str, type[Predictor]] = {
    "text-labels": TextLabels,
    "image-labels": ImageLabels,
}


def load(folder: str | Path, providers: list[str] | None = None, threads: int | None = None) -> Predictor:
    """Load an unzipped bundle. `providers` are onnxruntime's, CPU by default; `threads` per model run, None for all cores.

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
