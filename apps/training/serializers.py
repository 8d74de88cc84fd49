"""Shapes of training's part of the control API."""

from decimal import Decimal
from typing import Any

from rest_framework import serializers

from apps.core.schema import Contract
from apps.datasets.models import Kind
from apps.training.models import Job, Trial
from workers.contracts.errors import ErrorCard
from workers.task_templates.base import PRESETS


class TemplateSerializer(serializers.Serializer[Any]):
    key = serializers.CharField()
    kind = serializers.ChoiceField(Kind.choices)
    title = serializers.CharField()
    summary = serializers.CharField()
    parameters = serializers.DictField(help_text="JSON Schema of the parameters")
    presets = serializers.ListField(child=serializers.CharField())
    search_space = serializers.DictField(
        child=serializers.DictField(), help_text="what `tune` searches: {low, high, log} or {values} by parameter"
    )


class LimitsSerializer(serializers.Serializer[Any]):
    minutes = serializers.FloatField(min_value=1, max_value=10_080, required=False, help_text="of useful computing")
    cost = serializers.DecimalField(
        max_digits=10, decimal_places=4, min_value=Decimal("0.0001"), required=False, help_text="where a price is set"
    )


class SecondsSerializer(serializers.Serializer[Any]):
    useful = serializers.FloatField()
    lost = serializers.FloatField(help_text="of work that is in no result and no checkpoint; never part of a cost")


class NewJobSerializer(serializers.Serializer[Any]):
    project = serializers.CharField(max_length=32)
    dataset = serializers.CharField(max_length=32, help_text="its latest ready version is used")
    template = serializers.CharField(max_length=40)
    preset = serializers.ChoiceField(PRESETS, default="balanced")
    parameters = serializers.DictField(default=dict, help_text="go before what the preset says")
    name = serializers.CharField(max_length=120, default="", allow_blank=True)
    priority = serializers.IntegerField(min_value=-1, max_value=1, default=0, help_text="1 goes first, -1 last")
    limits = LimitsSerializer(default=dict, help_text="training stops there, with the best model so far")


class RetrySerializer(serializers.Serializer[Any]):
    parameters = serializers.DictField(default=dict, help_text="parameters to replace, for example from `error.repair`")


class JobSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    kind = serializers.ChoiceField(Job.Kind.choices)
    name = serializers.CharField()
    project = serializers.CharField()
    dataset = serializers.CharField()
    dataset_version = serializers.IntegerField()
    template = serializers.CharField()
    preset = serializers.CharField()
    parameters = serializers.DictField()
    priority = serializers.IntegerField()
    state = serializers.ChoiceField(Job.State.choices)
    progress = serializers.FloatField(min_value=0, max_value=1)
    phase = serializers.CharField()
    attempt = serializers.IntegerField()
    device = serializers.CharField()
    runner = serializers.CharField()
    position = serializers.IntegerField(allow_null=True, help_text="place in the queue, from 1, while queued")
    waiting_because = serializers.CharField(allow_null=True)
    queued_seconds = serializers.FloatField()
    run_seconds = serializers.FloatField()
    eta_seconds = serializers.FloatField(allow_null=True)
    seconds = SecondsSerializer()
    cost = serializers.DecimalField(max_digits=12, decimal_places=4, allow_null=True)
    metrics = serializers.DictField()
    model = serializers.CharField(allow_null=True)
    error = Contract(ErrorCard, allow_null=True)
    cancel_requested = serializers.BooleanField()
    created = serializers.DateTimeField()
    started = serializers.DateTimeField(allow_null=True)
    ended = serializers.DateTimeField(allow_null=True)


class SeriesSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    total = serializers.IntegerField(help_text="points before down-sampling")
    points = serializers.ListField(
        child=serializers.ListField(child=serializers.FloatField()), help_text="[step, value]"
    )


class SeriesListSerializer(serializers.Serializer[Any]):
    series = SeriesSerializer(many=True)


class TrialSerializer(serializers.Serializer[Any]):
    number = serializers.IntegerField(min_value=1)
    parameters = serializers.DictField()
    state = serializers.ChoiceField(Trial.State.choices)
    score = serializers.FloatField(allow_null=True)
    scores = serializers.ListField(
        child=serializers.ListField(child=serializers.FloatField()), help_text="[epoch from 0, score]"
    )
    seconds = serializers.FloatField()
    reason = serializers.CharField()


class TrialListSerializer(serializers.Serializer[Any]):
    metric = serializers.CharField(help_text="on the validation rows; larger is better")
    best = serializers.IntegerField(allow_null=True)
    importance = serializers.DictField(
        child=serializers.FloatField(),
        help_text="rank correlation of score and parameter, from five finished trials on",
    )
    trials = TrialSerializer(many=True)
