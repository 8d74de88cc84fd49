"""Control API of this app."""

from django.urls import path

from apps.registry import api

urlpatterns = [
    path("models", api.models, name="models"),
    path("models/<str:model_id>", api.model, name="model"),
    path("models/<str:model_id>/bundle", api.bundle, name="bundle"),
]
