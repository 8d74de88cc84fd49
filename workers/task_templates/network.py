"""What can be set for every template that trains a network: the options of the training loop."""

from typing import Any, Literal

from pydantic import Field

from workers.task_templates.base import ADVANCED, FoldedParams


class NetworkParams(FoldedParams):
    """Options of the training loop. A template adds what its own network needs; its presets set what differs."""

    epochs: int | None = Field(
        default=None,
        ge=1,
        le=500,
        title="Epochs",
        description="How often training goes through all examples, at most. Empty: chosen from the amount of data.",
    )
    learning_rate: float = Field(
        default=0.001,
        gt=0,
        le=5,
        title="Learning rate",
        description="The size of a training step at its peak.",
    )
    batch_size: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        title="Batch size",
        description="Examples per training step. Empty: chosen from the amount of data.",
    )
    micro_batch: int | None = Field(
        default=None,
        ge=1,
        le=4096,
        title="Examples at a time",
        description="Larger batches are added up from parts of this size: less memory, the same results. Empty: whole "
        "batches, and halves of them where memory runs out.",
        json_schema_extra=ADVANCED,
    )
    optimizer: Literal["adamw", "sgd"] = Field(
        default="adamw",
        title="Optimizer",
        description="AdamW, or gradient descent with Nesterov momentum.",
        json_schema_extra=ADVANCED,
    )
    schedule: Literal["cosine", "one-cycle"] = Field(
        default="cosine",
        title="Schedule",
        description="How the learning rate goes. Cosine: up within the warm-up, then down to nothing. One cycle: so "
        "too, from a 25th of the peak, with a momentum that goes the other way.",
        json_schema_extra=ADVANCED,
    )
    warmup: float = Field(
        default=0.05,
        ge=0,
        le=0.9,
        title="Warm-up",
        description="Share of the training in which the learning rate climbs to its peak.",
        json_schema_extra=ADVANCED,
    )
    weight_decay: float = Field(
        default=0.01,
        ge=0,
        le=1,
        title="Weight decay",
        description="How strongly weights are drawn towards zero; biases and norms are not.",
        json_schema_extra=ADVANCED,
    )
    l1: float = Field(
        default=0.0,
        ge=0,
        le=1,
        title="L1",
        description="How strongly small weights are made exactly zero; biases and norms are not.",
        json_schema_extra=ADVANCED,
    )
    clip_norm: float = Field(
        default=1.0,
        ge=0,
        le=1000,
        title="Gradient clipping",
        description="Longest gradient; longer ones are shortened to it. 0: never.",
        json_schema_extra=ADVANCED,
    )
    label_smoothing: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        title="Label smoothing",
        description="How much doubt about the given labels training keeps.",
        json_schema_extra=ADVANCED,
    )
    class_balance: Literal["none", "weights", "sampling"] = Field(
        default="weights",
        title="Balance the classes",
        description="Hear rare classes more: by weights in the loss, or by showing their examples more often.",
        json_schema_extra=ADVANCED,
    )
    ema: float = Field(
        default=0.0,
        ge=0,
        le=0.5,
        title="Weight averaging",
        description="Keep a moving average (EMA) of the weights over this share of the training, and export it where "
        "it does better on the validation rows. 0: none.",
        json_schema_extra=ADVANCED,
    )
    patience: int = Field(
        default=5,
        ge=1,
        le=500,
        title="Patience",
        description="Epochs without improvement on the validation rows, in score or loss, after which training ends.",
        json_schema_extra=ADVANCED,
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        title="Precision",
        description="Numbers that training computes with. Auto: bf16 (older ones: fp16) on a GPU, fp32 on a CPU. What "
        "is judged and exported is fp32 always.",
        json_schema_extra=ADVANCED,
    )
    compile: Literal["auto", "off", "on"] = Field(
        default="auto",
        title="Compile",
        description="Let PyTorch compile the network before training. Auto: on a GPU where training is long enough.",
        json_schema_extra=ADVANCED,
    )
    int8: bool = Field(
        default=True,
        title="Make an int8 variant",
        description="Also keep the model in 8-bit numbers: about a quarter of the size, often faster, measured beside "
        "the model itself.",
        json_schema_extra=ADVANCED,
    )
    check_labels: bool = Field(
        default=True,
        title="Look for wrong labels",
        description="After training, say which labels of the data look wrong, by models that did not learn from the "
        "row in question. Takes about a tenth of the training's time.",
        json_schema_extra=ADVANCED,
    )
    deterministic: bool = Field(
        default=False,
        title="Deterministic",
        description="The same seed gives the very same weights on a GPU too, more slowly. On a CPU it always does.",
        json_schema_extra=ADVANCED,
    )
    devices: int = Field(
        default=1,
        ge=1,
        le=16,
        title="Devices",
        description="GPUs of one host that train together and share each batch. The result is that of one device, but "
        "for the order of sums.",
        json_schema_extra=ADVANCED,
    )


# Fields that not every network has, or not with the same numbers.


def dropout_field(default: float) -> Any:
    """A field for dropout."""
    return Field(
        default=default,
        ge=0,
        le=0.9,
        title="Dropout",
        description="Share of the signal that is hidden at random in training, against learning by heart.",
        json_schema_extra=ADVANCED,
    )


def networks_field(most: int) -> Any:
    """A field for an ensemble of at most so many networks."""
    return Field(
        default=1,
        ge=1,
        le=most,
        title="Networks",
        description="How many networks learn side by side and answer together: surer answers, that many times slower.",
    )
