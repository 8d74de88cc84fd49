"""Control API: teams and people."""

from django.urls import path

from apps.teams import api

urlpatterns = [
    path("me", api.me),
    path("teams", api.teams),
    path("teams/<str:team_id>", api.team),
    path("teams/<str:team_id>/members", api.members),
    path("teams/<str:team_id>/members/<str:membership_id>", api.member),
    path("teams/<str:team_id>/invitations", api.invitations),
    path("teams/<str:team_id>/invitations/<str:invitation_id>", api.invitation),
    path("teams/<str:team_id>/audit", api.audit_trail),
    path("invitations/accept", api.accept),
    path("tokens", api.tokens),
    path("tokens/<str:token_id>", api.token),
]
