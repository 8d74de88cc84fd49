"""What the control API takes and gives about datasets."""

import json
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.datasets.actions import MAX_LABEL_CHARS
from apps.datasets.models import DatasetVersion, Kind
from apps.datasets.sources import MAX_FILES
from workers.contracts.job import MAX_FIRST_LINE, MAX_SHEET_CHARS, SPLITS
from workers.fetch.policy import MAX_URL


@extend_schema_field({"type": "object", "additionalProperties": {"type": "string"}})
class MappingField(serializers.DictField):
    """{"text": "review", …}; as text in a multipart body, which knows no objects. "" says that there is none."""

    child = serializers.CharField(max_length=400, trim_whitespace=False, allow_blank=True)

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, str):
            try:
                data = json.loads(data)
            except (ValueError, RecursionError):
                raise serializers.ValidationError("not JSON") from None
        return super().to_internal_value(data)

    def get_value(self, dictionary: Any) -> Any:
        # DRF would look for mapping[text]=… in forms.
        return dictionary.get(self.field_name, serializers.empty)


class OneOrMore(serializers.ListField):
    """A value or several: a list in JSON, a part that is repeated in a form."""

    def to_internal_value(self, data: Any) -> Any:
        return super().to_internal_value(data if isinstance(data, list) else [data])


class OptionsIn(serializers.Serializer[Any]):
    """How tables are to be read, where that is not to be guessed (FileOptions)."""

    header = serializers.BooleanField(
        allow_null=True, default=None, help_text="Whether the first row names the columns; guessed where nobody says."
    )
    first_line = serializers.IntegerField(
        min_value=1,
        max_value=MAX_FIRST_LINE,
        allow_null=True,
        default=None,
        help_text="The line of that row, where other lines stand above the table; guessed where nobody says.",
    )
    sheet = serializers.CharField(
        max_length=MAX_SHEET_CHARS,
        allow_blank=True,
        default="",
        trim_whitespace=False,
        help_text="Of a workbook the sheet to read. Default: the first that has rows.",
    )


class FilesIn(serializers.Serializer[Any]):
    """How data comes in: as files, as finished uploads, or from an address. Several tables become one."""

    file = OneOrMore(
        child=serializers.FileField(allow_empty_file=True, max_length=4096),
        required=False,
        max_length=MAX_FILES,
        help_text="One or more files; tables of the same columns become one dataset.",
    )
    upload = OneOrMore(
        child=serializers.CharField(max_length=32),
        required=False,
        max_length=MAX_FILES,
        help_text="Finished uploads, instead of `file`.",
    )
    url = serializers.CharField(
        max_length=MAX_URL, required=False, help_text="An http(s) or s3 address, instead of `file`."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The data comes in exactly one way."""
        if sum(way in attrs for way in ("file", "upload", "url")) != 1:
            raise serializers.ValidationError({"file": "Send one of `file`, `upload` and `url`."})
        return attrs


class AppendIn(OptionsIn, FilesIn):
    pass


class DatasetIn(AppendIn):
    project = serializers.CharField(max_length=32)
    name = serializers.CharField(max_length=120)
    kind = serializers.ChoiceField(choices=Kind.choices)
    mapping = MappingField(required=False)


class ChangeIn(serializers.Serializer[Any]):
    row = serializers.IntegerField(min_value=0, max_value=2**62)
    label = serializers.CharField(max_length=MAX_LABEL_CHARS, required=False)  # type: ignore[assignment]
    labels = serializers.ListField(
        child=serializers.CharField(max_length=MAX_LABEL_CHARS),
        required=False,
        max_length=1000,
        help_text="Instead of `label`, where rows have several: all that the row is to have.",
    )
    text = serializers.CharField(max_length=1_000_000, required=False, trim_whitespace=False)
    text_pair = serializers.CharField(
        max_length=1_000_000, required=False, trim_whitespace=False, help_text="The second text of a pair."
    )
    split = serializers.ChoiceField(choices=SPLITS, required=False)
    drop = serializers.BooleanField(required=False, help_text="The row goes.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A change changes something."""
        if len(attrs) < 2:
            raise serializers.ValidationError({"label": "Give a label or labels, a text, a split, or drop."})
        if "label" in attrs and "labels" in attrs:
            raise serializers.ValidationError({"label": "Send either `label` or `labels`."})
        for name in ("text", "text_pair"):
            if name in attrs and not attrs[name].strip():
                raise serializers.ValidationError({name: "The text is empty."})
        return attrs


class ChangesIn(serializers.Serializer[Any]):
    version = serializers.IntegerField(
        min_value=1,
        max_value=2**31 - 1,
        required=False,
        help_text="The version whose rows these are; 409 where it is not the newest any more.",
    )
    changes = ChangeIn(many=True, allow_empty=False)


class DatasetNameIn(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)


class VersionIn(serializers.Serializer[Any]):
    version = serializers.IntegerField(min_value=1, max_value=2**31 - 1)


class RepairIn(serializers.Serializer[Any]):
    code = serializers.CharField(max_length=60, help_text="The issue's code.")
    repair = serializers.CharField(
        max_length=40, required=False, default="", help_text="Which of several repairs; without it the usual one."
    )


class ExampleOut(serializers.Serializer[Any]):
    row = serializers.IntegerField()
    before = serializers.DictField(child=serializers.CharField())
    after = serializers.DictField(child=serializers.CharField(), allow_null=True, help_text="Null: the row goes.")


class RepairPreviewOut(serializers.Serializer[Any]):
    code = serializers.CharField()
    repair = serializers.CharField()
    title = serializers.CharField()
    does = serializers.CharField()
    dropped = serializers.IntegerField()
    relabelled = serializers.IntegerField()
    changed = serializers.IntegerField()
    examples = ExampleOut(many=True)


class NewVersionOut(serializers.Serializer[Any]):
    id = serializers.CharField(help_text="The dataset.")
    version = serializers.IntegerField()
    state = serializers.ChoiceField(choices=DatasetVersion.State.choices)


class SplitsOut(serializers.Serializer[Any]):
    train = serializers.IntegerField()
    validation = serializers.IntegerField()
    test = serializers.IntegerField()


class DatasetOut(NewVersionOut):
    name = serializers.CharField()
    project = serializers.CharField()
    kind = serializers.ChoiceField(choices=Kind.choices)
    origin = serializers.CharField()
    source = serializers.CharField(help_text="The file's name.")  # type: ignore[assignment]
    mapping = serializers.DictField(child=serializers.CharField())
    rows = serializers.IntegerField()
    rejected = serializers.IntegerField()
    schema = serializers.ListField(child=serializers.DictField(), help_text="Columns: name and type.")
    classes = serializers.DictField(child=serializers.IntegerField())
    splits = SplitsOut()
    profile = serializers.DictField()
    issues = serializers.ListField(
        child=serializers.DictField(), help_text="`repairs` names what POST /datasets/{id}/repair can do about one."
    )
    error = serializers.DictField(allow_null=True)
    job = serializers.CharField(allow_null=True, help_text="The import.")
    created = serializers.DateTimeField()
    trashed = serializers.DateTimeField(allow_null=True, help_text="Since when it is in the trash.")


class DatasetRowOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    project = serializers.CharField()
    kind = serializers.ChoiceField(choices=Kind.choices)
    version = serializers.IntegerField()
    state = serializers.ChoiceField(choices=DatasetVersion.State.choices)
    rows = serializers.IntegerField()
    created = serializers.DateTimeField()
    trashed = serializers.DateTimeField(allow_null=True)


class RowsOut(serializers.Serializer[Any]):
    results = serializers.ListField(child=serializers.DictField())
    next = serializers.URLField(allow_null=True)
    total = serializers.IntegerField(help_text="Rows that match.")


class CountsOut(serializers.Serializer[Any]):
    added = serializers.IntegerField()
    removed = serializers.IntegerField()
    relabelled = serializers.IntegerField()
    changed = serializers.IntegerField()
    moved = serializers.IntegerField()


class ChangeOut(serializers.Serializer[Any]):
    from_row = serializers.IntegerField(allow_null=True)
    to_row = serializers.IntegerField(allow_null=True)
    before = serializers.DictField(allow_null=True)
    after = serializers.DictField(allow_null=True)


class DiffOut(serializers.Serializer[Any]):
    to = serializers.IntegerField()
    counts = CountsOut(help_text="Rows by kind of change; one row can be in several.")
    change = serializers.CharField(help_text="What the results are of.")
    results = ChangeOut(many=True)
    next = serializers.URLField(allow_null=True)

    def get_fields(self) -> dict[str, Any]:
        """`from` is no name that Python lets a field have."""
        return {"from": serializers.IntegerField(), **super().get_fields()}


class PreviewOut(serializers.Serializer[Any]):
    format = serializers.CharField()
    encoding = serializers.CharField(allow_null=True)
    delimiter = serializers.CharField(allow_null=True)
    header = serializers.BooleanField(
        allow_null=True, help_text="Whether the first row names the columns; null where that is no question."
    )
    first_line = serializers.IntegerField(allow_null=True, help_text="The line of that row.")
    top = serializers.ListField(
        child=serializers.DictField(), help_text="Line and text of the first rows, also of those above the table."
    )
    sheet = serializers.CharField(allow_null=True)
    sheets = serializers.ListField(child=serializers.CharField(), help_text="Those of the workbook that have rows.")
    columns = serializers.ListField(child=serializers.DictField(), help_text="Name and type.")
    rows = serializers.ListField(child=serializers.ListField(child=serializers.CharField()))
    columns_left_out = serializers.DictField(
        child=serializers.CharField(), help_text="Columns that are not read, and what they hold."
    )
    problems = serializers.ListField(child=serializers.DictField(), help_text="Line, code and message.")
    kind_guess = serializers.CharField()
    mapping_guess = serializers.DictField(child=serializers.CharField())
    mapping_guesses = serializers.DictField(child=serializers.DictField())
    separator_guesses = serializers.DictField(
        child=serializers.CharField(), help_text="Column: what seems to separate several labels in its cells."
    )
    empty_labels = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="Column of several labels: how many of the first rows have none there.",
    )
