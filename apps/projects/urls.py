"""Pages of this app."""

from django.urls import path

from apps.projects import views

urlpatterns = [
    path("teams/<str:team_id>/projects/new", views.new, name="new"),
    path("projects/<str:project_id>", views.project, name="project"),
    path("projects/<str:project_id>/settings", views.settings, name="settings"),
    path("projects/<str:project_id>/archive", views.archive, name="archive"),
    path("projects/<str:project_id>/restore", views.restore, name="restore"),
    path("projects/<str:project_id>/activity", views.activity, name="activity"),
    path("projects/<str:project_id>/comments", views.comment, name="comment"),
    path("projects/<str:project_id>/milestones", views.milestone, name="milestone"),
    path("projects/<str:project_id>/milestones/<str:milestone_id>/complete", views.complete, name="complete"),
]
