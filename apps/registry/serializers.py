"""Shapes of the registry's part of the control API."""

from typing import Any

from rest_framework import serializers

from apps.datasets.models import Kind


class CertificateSerializer(serializers.Serializer[Any]):
    examples = serializers.IntegerField()
    label_flips = serializers.IntegerField()
    max_abs_difference = serializers.FloatField()
    tolerance = serializers.FloatField()
    passed = serializers.BooleanField()
    split = serializers.CharField()
    provider = serializers.CharField()


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
    certificate = CertificateSerializer()
    deployable = serializers.BooleanField()
    bundle = BundleSerializer()
    created = serializers.DateTimeField()


class ModelSerializer(ModelBriefSerializer):
    report = serializers.DictField()


class ModelPageSerializer(serializers.Serializer[Any]):
    results = ModelBriefSerializer(many=True)
    next = serializers.URLField(allow_null=True)
