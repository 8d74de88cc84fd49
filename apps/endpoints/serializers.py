"""What the control API takes and gives about endpoints and API keys."""

from typing import Any

from rest_framework import serializers

from apps.endpoints.status import STATES
from apps.teams.models import ApiKey
from workers.contracts.keys import MAX_ORIGINS


class EndpointIn(serializers.Serializer[Any]):
    project = serializers.CharField(max_length=32)
    name = serializers.CharField(max_length=120)
    model = serializers.CharField(max_length=32)


class DeployIn(serializers.Serializer[Any]):
    model = serializers.CharField(max_length=32)
    traffic = serializers.IntegerField(min_value=1, max_value=100, default=100)


class RevisionOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    number = serializers.IntegerField()
    model = serializers.CharField()
    traffic = serializers.IntegerField(help_text="percent")
    state = serializers.ChoiceField(choices=STATES)
    problem = serializers.CharField()
    created = serializers.DateTimeField()


class EndpointOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    project = serializers.CharField()
    name = serializers.CharField()
    slug = serializers.CharField()
    template = serializers.CharField()
    state = serializers.ChoiceField(choices=STATES)
    url = serializers.URLField(help_text="where predictions are asked for")
    revisions = RevisionOut(many=True)


class KeyIn(serializers.Serializer[Any]):
    team = serializers.CharField(max_length=32)
    name = serializers.CharField(max_length=120)
    endpoints = serializers.ListField(
        child=serializers.CharField(max_length=32),
        max_length=200,
        required=False,
        allow_null=True,
        help_text="ids; without it the key opens all endpoints of the team",
    )
    expires = serializers.DateTimeField(required=False, allow_null=True)
    rate_limit = serializers.FloatField(
        min_value=0.001, max_value=1_000_000, required=False, allow_null=True, help_text="requests per second"
    )
    origins = serializers.ListField(
        child=serializers.CharField(max_length=200),
        max_length=MAX_ORIGINS,
        required=False,
        help_text="web origins whose pages may use the key in a browser (CORS), such as https://shop.example",
    )


class KeyOut(serializers.Serializer[ApiKey]):
    id = serializers.CharField()
    team = serializers.CharField(source="team_id")
    name = serializers.CharField()
    prefix = serializers.CharField()
    endpoints = serializers.SerializerMethodField(help_text="ids; null: all endpoints of the team")
    rate_limit = serializers.FloatField(allow_null=True)
    origins = serializers.ListField(child=serializers.CharField())
    created = serializers.DateTimeField()
    expires = serializers.DateTimeField(allow_null=True)
    revoked = serializers.DateTimeField(allow_null=True)

    def get_endpoints(self, key: ApiKey) -> list[str] | None:
        return None if key.all_endpoints else [endpoint.pk for endpoint in key.endpoints.all()]


class NewKeyOut(KeyOut):
    key = serializers.CharField(help_text="shown this once")
