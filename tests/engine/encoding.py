"""Tiny encoders, saved as Hugging Face folders, and jobs on them."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from tests.engine.jobs import Job, make_job
from workers.engine import __main__ as engine

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def save_text_encoder(folder: Path, positions: int = 64) -> None:
    """A BERT of two layers with a WordPiece tokenizer. It knows the words of the toy texts, and which are of a kind."""
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from workers.task_templates import toy

    words = sorted({*toy._FILLERS, *(word for own in toy._WORDS.values() for word in own)})
    vocabulary = {word: number for number, word in enumerate([*SPECIAL, *words, *"abcdefghijklmnopqrstuvwxyz"])}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    marks = [("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=marks
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]")
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=positions,
    )
    model = BertModel(config)
    with torch.no_grad():
        for kind, own in enumerate(toy._WORDS.values()):
            for word in own:
                model.embeddings.word_embeddings.weight[vocabulary[word], 4 * kind : 4 * kind + 4] += 0.5
    model.save_pretrained(folder)


def save_vit(folder: Path) -> None:
    """A vision transformer for 16 × 16 pixels, whose processor stretches."""
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(0)
    config = ViTConfig(
        image_size=16,
        patch_size=4,
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        initializer_range=0.1,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    ViTModel(config, add_pooling_layer=False).save_pretrained(folder)
    _processor(folder, size={"height": 16, "width": 16}, resample=2, image_mean=[0.5] * 3, image_std=[0.5] * 3)


def save_resnet(folder: Path) -> None:
    """A residual network whose processor scales the shorter side to 20 pixels and cuts out the middle 16."""
    from transformers import ResNetConfig, ResNetModel

    torch.manual_seed(0)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ResNetModel(config).save_pretrained(folder)
    _processor(
        folder,
        size={"shortest_edge": 20},
        crop_size={"height": 16, "width": 16},
        do_center_crop=True,
        resample=3,
        image_mean=[0.485, 0.456, 0.406],
        image_std=[0.229, 0.224, 0.225],
    )


def _processor(folder: Path, **settings: Any) -> None:
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))


def run_job(key: str, folder: Path, **parameters: Any) -> Job:
    """Run a job in this process, as `python -m workers.engine` does."""
    job = make_job(folder, key, **parameters)
    engine.main([str(job.root)])
    return job


def failure(job: Job) -> dict[str, Any]:
    """The card of a job that failed."""
    last = job.events[-1]
    assert last["type"] == "failed", last
    card: dict[str, Any] = last["error"]
    return card


def write_texts(job: Job, texts: list[tuple[str, str, str]]) -> None:
    """Other data for a job: (split, text, label)."""
    rows = [
        {"row": n, "split": split, "hash": f"{n:032x}", "text": text, "label": label}
        for n, (split, text, label) in enumerate(texts)
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), job.inputs / "data.parquet")
