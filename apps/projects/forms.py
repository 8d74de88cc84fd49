"""Forms about projects."""

from django import forms
from django.utils.translation import gettext_lazy as _

from apps.projects.models import Comment, Milestone, Project


class ProjectForm(forms.ModelForm):
    """A project's name and brief."""

    class Meta:
        model = Project
        fields = ("name", "brief")
        widgets = {
            "name": forms.TextInput(attrs={"placeholder": _("Support tickets")}),
            "brief": forms.Textarea(attrs={"rows": 4, "placeholder": _("Sort incoming tickets so that …")}),
        }
        help_texts = {"brief": _("What the model is for, in your own words. Your team sees it on the project's page.")}


class MilestoneForm(forms.ModelForm):
    """A dated aim."""

    class Meta:
        model = Milestone
        fields = ("title", "due")
        widgets = {
            "title": forms.TextInput(attrs={"data-focus": "", "placeholder": _("Beta with ten customers")}),
            "due": forms.DateInput(attrs={"type": "date"}),
        }


class CommentForm(forms.ModelForm):
    """Something to say."""

    class Meta:
        model = Comment
        fields = ("text",)
        widgets = {"text": forms.Textarea(attrs={"rows": 2, "placeholder": _("Say something to your team")})}
