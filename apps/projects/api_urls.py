"""Control API: projects."""

from django.urls import path

from apps.projects import api

urlpatterns = [
    path("projects", api.projects),
    path("projects/<str:project_id>", api.project),
    path("projects/<str:project_id>/comments", api.comments),
    path("projects/<str:project_id>/milestones", api.milestones),
    path("projects/<str:project_id>/milestones/<str:milestone_id>/complete", api.complete),
]
