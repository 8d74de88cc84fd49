"""Parameters of transfer learning, shared by the templates that can start from a pretrained encoder."""

from typing import Literal

from pydantic import Field

from workers.task_templates.base import ADVANCED, Params

# One or two parts as on the Hugging Face hub. No part begins with a dot: a name can never lead out of a folder.
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}(/[A-Za-z0-9][A-Za-z0-9._-]{0,95})?$"


class EncoderParams(Params):
    """Which pretrained encoder to start from, and how it learns."""

    encoder: str = Field(
        default="none",
        pattern=_NAME,
        title="Pretrained encoder",
        description="none: learn from your examples alone. auto: the starter encoder where there is one for this kind "
        "of data, if it does better on the validation rows. Or the name of a Hugging Face encoder, for example "
        "distilbert/distilbert-base-multilingual-cased, or of a folder that your operator has put into place.",
        json_schema_extra={"examples": ["none", "auto", "all-MiniLM-L6-v2"]},
    )
    encoder_training: Literal["full", "frozen"] = Field(
        default="full",
        title="Encoder training",
        description="full: the whole encoder learns. frozen: it stays as it is, and only a layer on top learns, which "
        "is several times faster and weaker.",
        json_schema_extra=ADVANCED,
    )
    encoder_learning_rate: float | None = Field(
        default=None,
        gt=0,
        le=1,
        title="Encoder learning rate",
        description="The size of a training step of the encoder's last layer at its peak. Empty: a usual one.",
        json_schema_extra=ADVANCED,
    )
    encoder_layer_decay: float = Field(
        default=0.9,
        gt=0,
        le=1,
        title="Encoder layer decay",
        description="Each layer of the encoder learns by this factor more slowly than the one above it.",
        json_schema_extra=ADVANCED,
    )
    encoder_rounds: int | None = Field(
        default=None,
        ge=1,
        le=6,
        title="Encoder rounds",
        description="How many times the whole encoder learns, each time from the same start in another order; the mean "
        "of the weights answers. Surer answers from a model of the same size, that many times slower to train. Empty: "
        "once, or with auto as often as there is time for.",
        json_schema_extra=ADVANCED,
    )
