"""Control API of usage."""

from django.urls import path

from apps.usage import api

urlpatterns = [
    path("usage", api.usage, name="usage"),
    path("usage/compute", api.compute_time, name="compute"),
    path("usage.csv", api.usage_csv, name="csv"),
]
