"""Opening a bundle: fetched, verified, checked, loaded, tried. What fails here never answers a request."""

import hashlib
import json
import math
import re
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from pydantic import ValidationError

from workers.contracts.errors import UserError
from workers.contracts.manifest import Manifest, Variant
from workers.contracts.snapshot import RouteRevision
from workers.inference import runtime
from workers.inference.core import CPU, MODEL, Predictor
from workers.serving import devices, threads
from workers.serving.batcher import LOOP_BUDGET_S, Batcher, Predict, Prepare
from workers.serving.config import MAX_BATCH
from workers.serving.crew import Crew
from workers.serving.graph import check_model
from workers.storage import Storage

log = structlog.get_logger(__name__)

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,80}\Z")
_MAX_FILES: Final = 32
_MAX_UNPACKED: Final = 4 * 2**30
_MAX_MANIFEST: Final = 16 * 2**20
# How the export packs, and nothing else: on damaged bzip2, zipfile raises what a broken disk does, OSError.
_METHODS: Final = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
# What zipfile raises on a zip that it cannot read. RuntimeError: an encrypted entry, and by a subclass of it strong
# encryption, patched data, a newer version of the format. zlib.error: a damaged entry.
_UNREADABLE: Final = (zipfile.BadZipFile, zipfile.LargeZipFile, RuntimeError, EOFError, zlib.error)
# How far an answer may lie from the one that was stored when the bundle was made, on another machine perhaps.
_TOLERANCE: Final = 2e-3
_VARIANT_TOLERANCE: Final = 0.05
# Seconds after which a model's speed is not measured once more.
_TRIAL_S: Final = 0.1
# More threads cost more processor time in all: they have to be faster than one by so much.
_WORTH: Final = 0.8


@dataclass(frozen=True, slots=True)
class Speed:
    """Seconds that one input and a full batch took when the model was loaded, where it is fastest."""

    threads: int
    single_s: float
    batch_s: float
    providers: tuple[str, ...] = CPU


@dataclass(frozen=True, slots=True)
class Loaded:
    """A bundle that is ready to predict. `file_bytes`: the size of what it was loaded from."""

    predictor: Predictor
    manifest: Manifest
    speed: Speed
    example: dict[str, Any]
    file_bytes: int

    def batcher(self, crew: Crew, shared: Callable[[], bool]) -> Batcher:
        """A queue for it. `shared`: whether other models are asked, too."""
        return Batcher(
            self.predictor.predict,
            crew,
            typical_s=self.speed.batch_s,
            single_s=self.speed.single_s,
            prepare=_prepare_of(self.predictor),
            shared=shared,
        )


def fetch(storage: Storage, revision: RouteRevision, cache: Path) -> Path:
    """The verified bundle in the local cache. Raises SlipwayError."""
    path = cache / f"{revision.bundle_sha256}.zip"
    if not path.exists() or _sha256(path) != revision.bundle_sha256:
        storage.get_file(revision.bundle_key, path, revision.bundle_sha256)
    return path


def prepare() -> None:
    """Import what models need, so that the first is not charged with it."""
    import onnxruntime  # noqa: F401
    import PIL.Image  # noqa: F401
    import tokenizers  # noqa: F401


def open_bundle(path: Path, variant: str = "", before: Speed | None = None, cores: int = 0) -> Loaded:
    """Check, unpack, load and try a bundle's model, or a variant of it. Raises UserError `bundle_invalid` or
    `certificate_missing`: a variant has a certificate of its own.

    `before`: the very file has been opened by this process already, and was that fast; it is only loaded. `cores`: how
    many a run may use; 0 is all that the process may.
    """
    with tempfile.TemporaryDirectory(dir=path.parent, prefix="open-") as name:
        folder = Path(name)
        manifest = _unpack(path, folder)
        if not manifest.certificate.passed:
            raise UserError("certificate_missing")
        chosen = _variant(manifest, variant) if variant else None
        model = chosen.file if chosen else MODEL
        if before is None and (folder / model).exists():
            check_model((folder / model).read_bytes())
        references = References.read(folder, model, chosen)
        # The predictor keeps in memory what it needs: the folder may go.
        return _load(folder, manifest, references, before, cores or threads.cores())


def _variant(manifest: Manifest, name: str) -> Variant:
    found = next((variant for variant in manifest.variants if variant.name == name), None)
    if found is None or found.file not in manifest.files:
        raise UserError("certificate_missing", f"The bundle has no {name} variant.")
    if not found.deployable:
        raise UserError("certificate_missing", f"The {name} variant has not passed. {found.reason}".strip())
    return found


def _sha256(path: Path) -> str:
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _unpack(path: Path, folder: Path) -> Manifest:
    """The files that the manifest names, each with its size and hash; nothing else may be in the zip."""
    try:
        with zipfile.ZipFile(path) as bundle:
            entries = {entry.filename: entry for entry in bundle.infolist()}
            if len(entries) != len(bundle.infolist()) or len(entries) > _MAX_FILES:
                raise _refused("it has too many files")
            if not {entry.compress_type for entry in entries.values()} <= _METHODS:
                raise _refused("it is packed by an unusual method")
            if "manifest.json" not in entries or entries["manifest.json"].file_size > _MAX_MANIFEST:
                raise _refused("manifest.json is missing or too large")
            text = _read(bundle, entries["manifest.json"], _MAX_MANIFEST)
            manifest = Manifest.model_validate_json(text)
            if set(manifest.files) != set(entries) - {"manifest.json"}:
                raise _refused("its files are not those of its manifest")
            (folder / "manifest.json").write_bytes(text)
            for name, facts in manifest.files.items():
                _unpack_one(bundle, entries[name], facts, folder)
    except (*_UNREADABLE, ValidationError) as error:
        raise _refused("it cannot be read") from error
    return manifest


def _read(bundle: zipfile.ZipFile, entry: zipfile.ZipInfo, most: int) -> bytes:
    with bundle.open(entry) as stream:
        data = stream.read(most + 1)
    if len(data) > most:
        raise _refused(f"{entry.filename[:80]} is larger than it says")
    return data


def _unpack_one(bundle: zipfile.ZipFile, entry: zipfile.ZipInfo, facts: dict[str, Any], folder: Path) -> None:
    size, name = facts.get("bytes"), entry.filename
    if not _NAME.match(name) or not isinstance(size, int) or not 0 <= size <= _MAX_UNPACKED:
        raise _refused("a file has a strange name or size")
    data = _read(bundle, entry, size)
    if len(data) != size or hashlib.sha256(data).hexdigest() != facts.get("sha256"):
        raise _refused(f"{name} is not the file that its manifest names")
    (folder / name).write_bytes(data)


@dataclass(frozen=True, slots=True)
class References:
    """The bundle's reference cases, [{"input", "prediction"}], and how far an answer may lie from theirs."""

    model: str
    cases: list[dict[str, Any]]
    tolerance: float

    @classmethod
    def read(cls, folder: Path, model: str, variant: Variant | None) -> "References":
        """Of reference.json. Raises UserError `bundle_invalid`."""
        try:
            cases = json.loads((folder / "reference.json").read_text("utf-8"))["cases"]
            if not cases or not all({"input", "prediction"} <= set(case) for case in cases):
                raise _refused("reference.json holds no cases")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise _refused("reference.json cannot be read") from error
        # A variant differs by nature, and from processor to processor.
        tolerance = 2 * variant.max_abs_difference + _VARIANT_TOLERANCE if variant else _TOLERANCE
        return cls(model, list(cases), tolerance)

    def run(self, folder: Path, threads: int, providers: tuple[str, ...] = CPU) -> tuple[Predictor, Speed]:
        """Load the model, let it answer, and measure. Raises UserError `bundle_invalid`."""
        try:
            predictor = runtime.load(folder, list(providers), threads=threads, model=self.model)
            raws = [case["input"] for case in self.cases]
            items = predictor.parse(raws)
            answers = predictor.predict(items)
        except Exception as error:
            raise _refused(f"the model does not load ({type(error).__name__})") from error
        if len(answers) != len(self.cases) or not all(
            same_answer(case["prediction"], given, self.tolerance)
            for case, given in zip(self.cases, answers, strict=True)
        ):
            raise _refused("the model does not answer its reference cases as it did when it was made")
        prepare = _prepare_of(predictor)
        inputs, work = (raws, lambda some: predictor.predict(prepare(some))) if prepare else (items, predictor.predict)
        full = (inputs * MAX_BATCH)[:MAX_BATCH]
        # Of one thread its own time, where it is all that works: what else the machine does makes no model dear.
        clock = time.thread_time if (threads, providers) == (1, CPU) else time.perf_counter
        single_s, full_s = (_fastest_s(work, some, clock) for some in (inputs[:1], full))
        return predictor, Speed(threads, single_s, full_s, providers)


def _load(folder: Path, manifest: Manifest, references: References, before: Speed | None, cores: int) -> Loaded:
    predictor, speed = references.run(folder, *((before.threads, before.providers) if before else (1,)))
    # A cheap model is fastest on one thread; a dear one may gain from all, and from a GPU.
    if before is None and speed.batch_s > LOOP_BUDGET_S:
        for threads, providers in _others(cores):
            try:
                other, other_speed = references.run(folder, threads, providers)
            except UserError as error:
                log.warning("model not fit for this device", providers=providers, reason=error.message)
                continue
            if other_speed.batch_s < _WORTH * speed.batch_s:
                predictor, speed = other, other_speed
    models = {MODEL, *(variant.file for variant in manifest.variants)} - {references.model}
    file_bytes = sum(facts["bytes"] for name, facts in manifest.files.items() if name not in models)
    return Loaded(predictor, manifest, speed, references.cases[0], file_bytes)


def _others(cores: int) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Threads and providers that are worth a trial beside one thread of the processor."""
    if cores > 1:
        yield cores, CPU
    if providers := devices.gpu():
        yield 1, providers


def _prepare_of(predictor: Predictor) -> Prepare | None:
    """What makes items of raw inputs in the turn of their batch: decoding an image takes as long as many models."""
    return predictor.parse if predictor.manifest["kind"] == "image" else None


def _fastest_s(work: Predict, inputs: Sequence[Any], clock: Callable[[], float]) -> float:
    """The best of three runs, or the only one of a model that takes long."""
    best, end = math.inf, clock() + _TRIAL_S
    for _ in range(3):
        started = clock()
        work(inputs)
        best = min(best, (now := clock()) - started)
        if now > end:
            break
    return best


def same_answer(expected: Any, given: Any, tolerance: float = _TOLERANCE) -> bool:
    """Whether two predictions agree, numbers within the tolerance.

    Names of the winners are left out: where scores tie, another machine may break the tie differently.
    """
    if isinstance(expected, dict):
        return isinstance(given, dict) and all(
            same_answer(value, given.get(name), tolerance)
            for name, value in expected.items()
            if name not in ("label", "labels", "item")
        )
    if isinstance(expected, list):
        return (
            isinstance(given, list)
            and len(expected) == len(given)
            and all(same_answer(one, other, tolerance) for one, other in zip(expected, given, strict=True))
        )
    if isinstance(expected, float):
        return isinstance(given, int | float) and abs(expected - given) <= tolerance * max(1.0, abs(expected))
    return bool(expected == given)


def _refused(reason: str) -> UserError:
    return UserError("bundle_invalid", f"The bundle is not acceptable: {reason}.")
