"""Pages of this app."""

from django.urls import path

from apps.teams import account_views, key_views, people_views, views

urlpatterns = [
    path("teams/new", views.new, name="new"),
    path("teams/<str:team_id>", views.home, name="home"),
    path("teams/<str:team_id>/settings", views.settings, name="settings"),
    path("teams/<str:team_id>/audit", views.audit_log, name="audit"),
    path("teams/<str:team_id>/members", people_views.members, name="members"),
    path("teams/<str:team_id>/members/<str:membership_id>/role", people_views.role, name="role"),
    path("teams/<str:team_id>/members/<str:membership_id>/remove", people_views.remove, name="remove"),
    path("teams/<str:team_id>/invitations/<str:invitation_id>/withdraw", people_views.withdraw, name="withdraw"),
    path("teams/<str:team_id>/keys", key_views.keys, name="keys"),
    path("keys/<str:key_id>/revoke", key_views.revoke, name="revoke_key"),
    path("invitations/<str:token>", people_views.invitation, name="invitation"),
    path("account", account_views.account, name="account"),
    path("account/tokens", account_views.tokens, name="tokens"),
    path("account/tokens/<str:token_id>/revoke", account_views.revoke, name="revoke_token"),
]
