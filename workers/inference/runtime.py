"""Bundle → predictor: THE table of predictors. A new one is a module in this folder and a line here.

The hosted endpoint, the evaluation behind the parity certificate and the downloaded bundle run the same modules; the
bundle holds those it needs, joined into one file (see script.py). They need numpy, onnxruntime and, as the bundle asks,
tokenizers or Pillow.
"""

from collections.abc import Sequence
from pathlib import Path

from workers.inference.core import CPU, MODEL, Bundle, Predictor, read_manifest
from workers.inference.image import ImageLabels
from workers.inference.ranked import RankedItems
from workers.inference.tabular import TableLabels
from workers.inference.text import TextLabels

PREDICTORS: dict[str, type[Predictor]] = {
    "text-labels": TextLabels,
    "image-labels": ImageLabels,
    "ranked-items": RankedItems,
    "table-labels": TableLabels,
}


def load(
    folder: str | Path, providers: Sequence[str] | None = None, threads: int | None = None, model: str = MODEL
) -> Predictor:
    """Load an unzipped bundle. `providers` are onnxruntime's, CPU by default; `threads` per model run, None for all
    cores; `model` is the file of a variant.

    Raises OSError, ValueError or KeyError where the folder holds no bundle.
    """
    folder = Path(folder)
    manifest = read_manifest(folder)
    return PREDICTORS[manifest["predictor"]](Bundle(folder, manifest, model, providers or CPU, threads))
