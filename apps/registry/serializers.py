"""Shapes of the registry's part of the control API."""

from typing import Any

from rest_framework import serializers

from apps.core.schema import Contract
from apps.datasets.models import Kind
from workers.contracts.manifest import Certificate
from workers.contracts.report import Report


class BundleSerializer(serializers.Serializer[Any]):
    sha256 = serializers.CharField()
    bytes = serializers.IntegerField()


class ModelBriefSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    number = serializers.IntegerField()
    name = serializers.CharField()
    project = serializers.CharField()
    template = serializers.CharField()
    kind = serializers.ChoiceField(Kind.choices)
    preset = serializers.CharField()
    parameters = serializers.DictField()
    dataset = serializers.CharField()
    dataset_version = serializers.IntegerField()
    job = serializers.CharField()
    metrics = serializers.DictField(help_text="metrics per split: {validation: {…}, test: {…}}")
    certificate = Contract(Certificate)
    deployable = serializers.BooleanField()
    bundle = BundleSerializer()
    created = serializers.DateTimeField()


class ModelSerializer(ModelBriefSerializer):
    report = Contract(Report)
