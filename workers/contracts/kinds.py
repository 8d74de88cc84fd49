"""THE table of kinds of data: what a dataset of a kind consists of, and what an endpoint for it takes."""

from typing import Final, Literal, NamedTuple

LABEL_OPTIONS: Final = ("label_separator", "empty_label")
DatasetKind = Literal["text", "image", "recommendation", "tabular"]


class DataKind(NamedTuple):
    """One kind. Roles are what columns of a table can be mapped to; archives of class folders have none. Options stand
    in a mapping too and say how columns are read: what parts several labels in one cell, and that an empty one says
    that the row has none of them.

    `labelled`: rows have a label, which can be corrected. `max_body` bytes and `max_inputs` bound one request to an
    endpoint; `tensor` is the name of its input in the Open Inference Protocol. `asked`: what a column of a file that is
    to be predicted can be; of a table, each column of the model.
    """

    needed: tuple[str, ...]
    optional: tuple[str, ...]
    labelled: bool
    max_body: int
    max_inputs: int
    tensor: str
    archive: bool = False
    asked: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


KINDS: Final[dict[DatasetKind, DataKind]] = {
    "text": DataKind(
        ("text", "label"),
        # The second of two texts that belong together: question and answer, premise and hypothesis.
        ("text_pair", "split"),
        True,
        4 * 2**20,
        256,
        "text",
        asked=("text", "text_pair"),
        options=LABEL_OPTIONS,
    ),
    # Images come as files or, a third larger, in base64.
    "image": DataKind((), (), True, 20 * 2**20, 32, "image", archive=True, options=LABEL_OPTIONS),
    "recommendation": DataKind(
        ("user", "item"), ("rating", "timestamp", "split"), False, 2**20, 256, "user", asked=("user", "items")
    ),
    # Every other column of the table is a feature.
    "tabular": DataKind(("label",), ("split",), True, 4 * 2**20, 256, "row"),
}
