"""Control API of endpoints and API keys."""

from django.urls import path

from apps.endpoints import api

urlpatterns = [
    path("endpoints", api.endpoints, name="endpoints"),
    path("endpoints/<str:endpoint_id>", api.endpoint, name="endpoint"),
    path("endpoints/<str:endpoint_id>/deploy", api.deploy, name="deploy"),
    path("endpoints/<str:endpoint_id>/promote", api.promote, name="promote"),
    path("endpoints/<str:endpoint_id>/rollback", api.roll_back, name="roll_back"),
    path("keys", api.keys, name="keys"),
    path("keys/<str:key_id>", api.key, name="key"),
]
