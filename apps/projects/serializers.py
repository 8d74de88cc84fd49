"""What the control API takes and gives about projects."""

from typing import Any

from rest_framework import serializers

from apps.projects.models import Comment, Milestone, Project


class ProjectIn(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120)
    team = serializers.CharField(max_length=32, required=False, help_text="Default: the first team you may write to.")
    brief = serializers.CharField(max_length=4000, required=False, allow_blank=True)


class ProjectChange(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=120, required=False)
    brief = serializers.CharField(max_length=4000, required=False, allow_blank=True)
    archived = serializers.BooleanField(required=False)


class ProjectOut(serializers.Serializer[Project]):
    id = serializers.CharField()
    name = serializers.CharField()
    team = serializers.CharField(source="team_id")
    brief = serializers.CharField()
    created = serializers.DateTimeField()
    archived = serializers.DateTimeField(allow_null=True)


class CommentIn(serializers.Serializer[Any]):
    text = serializers.CharField(max_length=4000)


class CommentOut(serializers.Serializer[Comment]):
    id = serializers.CharField()
    author = serializers.CharField(source="author.email", default=None, allow_null=True)
    text = serializers.CharField()
    created = serializers.DateTimeField()


class MilestoneIn(serializers.Serializer[Any]):
    title = serializers.CharField(max_length=200)
    due = serializers.DateField(required=False, allow_null=True)


class MilestoneOut(serializers.Serializer[Milestone]):
    id = serializers.CharField()
    title = serializers.CharField()
    due = serializers.DateField(allow_null=True)
    done = serializers.DateTimeField(allow_null=True)
