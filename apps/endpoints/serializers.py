"""What the control API takes and gives about endpoints and API keys."""

from typing import Any

from rest_framework import serializers

from apps.endpoints.models import Rollout
from apps.endpoints.rollouts import MAX_REQUESTS
from apps.endpoints.status import STATES
from apps.teams.models import ApiKey
from workers.contracts.keys import MAX_ORIGINS

_VARIANT = "a variant of the model that has passed, such as int8; without it the model itself"


class EndpointIn(serializers.Serializer[Any]):
    project = serializers.CharField(max_length=32)
    name = serializers.CharField(max_length=120)
    model = serializers.CharField(max_length=32)
    variant = serializers.CharField(max_length=10, default="", allow_blank=True, help_text=_VARIANT)


class RuleIn(serializers.Serializer[Any]):
    """When the model is taken back by itself: judged over its last `requests` answers, once there are as many."""

    requests = serializers.IntegerField(min_value=1, max_value=MAX_REQUESTS, default=100)
    max_error_percent = serializers.FloatField(
        min_value=0, max_value=100, required=False, allow_null=True, help_text="of answers of 500 and above"
    )
    max_p99_ms = serializers.FloatField(min_value=0.001, max_value=600_000, required=False, allow_null=True)


class DeployIn(serializers.Serializer[Any]):
    model = serializers.CharField(max_length=32)
    variant = serializers.CharField(max_length=10, default="", allow_blank=True, help_text=_VARIANT)
    traffic = serializers.IntegerField(
        min_value=0,
        max_value=100,
        default=100,
        help_text="percent; at 0 the model answers only who asks for it by `X-Slipway-Revision`",
    )
    shadow = serializers.IntegerField(
        min_value=0, max_value=100, default=0, help_text="percent of the requests that the model gets copies of"
    )
    rule = RuleIn(required=False, allow_null=True)


class RevisionOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    number = serializers.IntegerField()
    model = serializers.CharField()
    variant = serializers.CharField(help_text="empty: the model itself")
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


class SplitOut(serializers.Serializer[Any]):
    since = serializers.DateTimeField(help_text="when the shares were last changed")
    requests = serializers.IntegerField(help_text="the newest ones since, at most 10,000")
    shares = serializers.DictField(child=serializers.FloatField(), help_text="revision id → measured share, 0 to 1")


class FindingsOut(serializers.Serializer[Any]):
    requests = serializers.IntegerField(help_text="the last answers, at most as many as the rule looks at")
    failed = serializers.IntegerField(help_text="of them, answers of 500 and above")
    p99_ms = serializers.FloatField(allow_null=True)


class LabelChangeOut(serializers.Serializer[Any]):
    answered = serializers.CharField()
    candidate = serializers.CharField()
    count = serializers.IntegerField()


class ComparedOut(serializers.Serializer[Any]):
    copies = serializers.IntegerField()
    dropped = serializers.IntegerField(help_text="copies that were not made: too many were waiting")
    failed = serializers.IntegerField(help_text="copies that the candidate failed on")
    items = serializers.IntegerField()
    compute_ms = serializers.FloatField(help_text="computing of the candidate, which nobody is billed for")
    agreement = serializers.FloatField(allow_null=True, help_text="share of inputs with the same label or items")
    score_difference = serializers.FloatField(allow_null=True)
    answered_ms = serializers.FloatField(allow_null=True, help_text="computing per input")
    candidate_ms = serializers.FloatField(allow_null=True, help_text="computing per input")
    changes = LabelChangeOut(many=True, help_text="the most frequent changes of the label")


class RolloutOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    candidate = serializers.CharField(help_text="revision id")
    state = serializers.ChoiceField(choices=Rollout.State.values)
    shadow = serializers.IntegerField(help_text="percent of the requests that are copied")
    rule = RuleIn(allow_null=True)
    findings = FindingsOut(help_text="of the last answers that the rule looks at")
    copied = FindingsOut(help_text="of the last copies that the rule looks at; p99_ms: of computing")
    compared = ComparedOut()
    reason = serializers.CharField(help_text="why Slipway took the candidate back; empty where it did not")
    started = serializers.DateTimeField()
    ended = serializers.DateTimeField(allow_null=True)


class EndpointDetailOut(EndpointOut):
    split = SplitOut()
    rollout = RolloutOut(allow_null=True, help_text="the one that runs, else the last")


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
