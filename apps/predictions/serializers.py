"""What the control API takes and gives about batch predictions."""

from typing import Any

from rest_framework import serializers

from apps.core.schema import Contract
from apps.datasets.serializers import MappingField, OptionsIn
from apps.predictions.models import Prediction
from apps.training.models import Job
from workers.contracts.errors import ErrorCard


class PredictionIn(OptionsIn):
    model = serializers.CharField(max_length=32, required=False)
    endpoint = serializers.CharField(max_length=32, required=False, help_text="Its model, instead of `model`.")
    variant = serializers.CharField(
        max_length=10,
        required=False,
        allow_blank=True,
        help_text="With `model`: a variant of it that has passed, such as int8. An endpoint answers as it does.",
    )
    file = serializers.FileField(required=False, allow_empty_file=True, max_length=4096)
    upload = serializers.CharField(max_length=32, required=False, help_text="A finished upload, instead of `file`.")
    mapping = MappingField(
        required=False, help_text="{text}, {user} or {items}; of a table {column of the model: column of the file}"
    )
    format = serializers.ChoiceField(
        choices=Prediction.Format.choices,
        required=False,
        help_text="Default: as the file; CSV for zip.",
    )
    scores = serializers.BooleanField(default=False, help_text="A column with the score of each class, too.")
    k = serializers.IntegerField(min_value=1, max_value=1000, required=False, help_text="Items to recommend.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """The file comes in one way, and one thing answers."""
        problems = {}
        if ("file" in attrs) == ("upload" in attrs):
            problems["file"] = "Send either `file` or `upload`."
        if ("model" in attrs) == ("endpoint" in attrs):
            problems["model"] = "Send either `model` or `endpoint`."
        if attrs.get("variant") and "endpoint" in attrs:
            problems["variant"] = "An endpoint's own variant answers."
        if problems:
            raise serializers.ValidationError(problems)
        return attrs


class NewPredictionOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    state = serializers.ChoiceField(choices=Job.State.choices)


class ResultOut(serializers.Serializer[Any]):
    name = serializers.CharField()
    sha256 = serializers.CharField()
    bytes = serializers.IntegerField()


class PredictionOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    state = serializers.ChoiceField(choices=Job.State.choices)
    project = serializers.CharField()
    job = serializers.CharField(help_text="For its events; a retry has another.")
    model = serializers.CharField()
    variant = serializers.CharField(help_text="empty: the model itself")
    endpoint = serializers.CharField(allow_null=True)
    source = serializers.CharField(help_text="Name of the file.")  # type: ignore[assignment]  # a field here
    mapping = serializers.DictField(child=serializers.CharField())
    progress = serializers.FloatField(min_value=0, max_value=1)
    phase = serializers.CharField()
    eta_seconds = serializers.FloatField(allow_null=True)
    attempt = serializers.IntegerField()
    waiting_because = serializers.CharField(allow_null=True)
    rows = serializers.IntegerField(help_text="Of the answered file: as many as the file has.")
    failed = serializers.IntegerField(help_text="Rows with an error instead of an answer.")
    columns = serializers.ListField(child=serializers.CharField(), help_text="That were added, `error` last.")
    labels = serializers.DictField(child=serializers.IntegerField(), help_text="How often each was answered.")
    seconds = serializers.FloatField(help_text="Of computing.")
    result = ResultOut(allow_null=True)
    error = Contract(ErrorCard, allow_null=True)
    created = serializers.DateTimeField()
    ended = serializers.DateTimeField(allow_null=True)
    expires = serializers.DateTimeField(allow_null=True, help_text="When file and answers are deleted.")
