"""Control API of usage."""

from django.urls import path

from apps.usage import api, ledger_api, limits_api

urlpatterns = [
    path("usage", api.usage, name="usage"),
    path("usage/compute", api.compute_time, name="compute"),
    path("usage/reconciliation", ledger_api.reconciliation, name="reconciliation"),
    path("usage/files", ledger_api.files, name="files"),
    path("usage/files/<str:file_id>", ledger_api.file, name="file"),
    path("teams/<str:team_id>/limits", limits_api.limits, name="limits"),
    path("usage.csv", api.usage_csv, name="csv"),
]
