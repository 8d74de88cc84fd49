"""Pages of usage."""

from django.urls import path

from apps.usage import views

urlpatterns = [
    path("teams/<str:team_id>/usage", views.team, name="team"),
    path("teams/<str:team_id>/usage/ledger", views.ledger, name="ledger"),
    path("teams/<str:team_id>/usage/limit", views.limit, name="limit"),
    path("usage/files/<str:file_id>", views.ledger_file, name="file"),
    path("projects/<str:project_id>/usage", views.project, name="project"),
]
