"""Forms about projects."""

from typing import ClassVar

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.projects.models import Comment, Milestone, Project


class ProjectForm(forms.ModelForm):
    """A project's name and brief."""

    class Meta:
        model = Project
        fields = ("name", "brief")
        widgets: ClassVar = {
            "name": forms.TextInput(attrs={"placeholder": _("Support tickets")}),
            "brief": forms.Textarea(attrs={"rows": 4, "placeholder": _("Sort incoming tickets so that …")}),
        }
        help_texts: ClassVar = {"brief": _("What the model is for, in your own words, for everybody on the team.")}


class MilestoneForm(forms.ModelForm):
    """A dated aim."""

    class Meta:
        model = Milestone
        fields = ("title", "due")
        widgets: ClassVar = {
            "title": forms.TextInput(attrs={"data-focus": "", "placeholder": _("Beta with ten customers")}),
            "due": forms.DateInput(attrs={"type": "date"}),
        }


class CommentForm(forms.ModelForm):
    """Something to say."""

    class Meta:
        model = Comment
        fields = ("text",)
        widgets: ClassVar = {"text": forms.Textarea(attrs={"rows": 2, "placeholder": _("Say something to your team")})}
