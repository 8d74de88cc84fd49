"""What the control API takes and gives about teams and people."""

from typing import Any

from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from rest_framework import serializers

from apps.core.models import AuditEntry
from apps.teams.models import Invitation, Membership, PersonalToken, Role


class NameIn(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)


class RoleIn(serializers.Serializer[Any]):
    role = serializers.ChoiceField(choices=Role.choices)


class InvitationIn(serializers.Serializer[Any]):
    email = serializers.EmailField(max_length=254)
    role = serializers.ChoiceField(choices=Role.choices, default=Role.MEMBER)


class AcceptIn(serializers.Serializer[Any]):
    token = serializers.CharField(max_length=200)


class TokenIn(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)
    expires = serializers.DateTimeField(required=False, allow_null=True)

    def validate_expires(self, value: Any) -> Any:
        """A token that has expired already helps nobody."""
        if value is not None and value <= timezone.now():
            raise serializers.ValidationError(_("This time is past."))
        return value


class TeamOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.choices, help_text="Your own role.")


class MeOut(serializers.Serializer[Any]):
    email = serializers.EmailField()
    name = serializers.CharField()
    teams = TeamOut(many=True)


class MemberOut(serializers.Serializer[Membership]):
    id = serializers.CharField()
    email = serializers.EmailField(source="user.email")
    name = serializers.CharField(source="user.display_name")
    role = serializers.ChoiceField(choices=Role.choices)
    joined = serializers.DateTimeField(source="created")


class InvitationOut(serializers.Serializer[Invitation]):
    id = serializers.CharField()
    email = serializers.EmailField()
    role = serializers.ChoiceField(choices=Role.choices)
    invited_by = serializers.EmailField(source="invited_by.email")
    created = serializers.DateTimeField()
    expires = serializers.DateTimeField()


class NewInvitationOut(InvitationOut):
    token = serializers.CharField(help_text="Shown this once.")
    link = serializers.URLField(help_text="What the mail links to.")


class TokenOut(serializers.Serializer[PersonalToken]):
    id = serializers.CharField()
    name = serializers.CharField()
    prefix = serializers.CharField()
    created = serializers.DateTimeField()
    last_used = serializers.DateTimeField(allow_null=True)
    expires = serializers.DateTimeField(allow_null=True)


class NewTokenOut(TokenOut):
    token = serializers.CharField(help_text="Shown this once.")


class AuditOut(serializers.Serializer[AuditEntry]):
    id = serializers.CharField()
    time = serializers.DateTimeField(source="created")
    actor = serializers.CharField(source="actor_email")
    event = serializers.CharField()
    noun = serializers.CharField(source="noun_id")
    name = serializers.CharField(source="noun_name")
    project = serializers.CharField(source="project_id", allow_null=True)
    data = serializers.DictField()  # type: ignore[assignment]
    request_id = serializers.CharField()
