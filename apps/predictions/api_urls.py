"""Control API of this app."""

from django.urls import path

from apps.predictions import api

urlpatterns = [
    path("predictions", api.predictions, name="predictions"),
    path("predictions/<str:prediction_id>", api.prediction, name="prediction"),
    path("predictions/<str:prediction_id>/cancel", api.cancel, name="cancel"),
    path("predictions/<str:prediction_id>/retry", api.retry, name="retry"),
    path("predictions/<str:prediction_id>/download", api.result, name="download"),
]
