"""Control API: uploads and datasets."""

from django.urls import path

from apps.datasets import api, tus

urlpatterns = [
    path("uploads", tus.begin),
    path("uploads/<str:upload_id>", tus.upload, name="upload"),
    path("datasets", api.datasets),
    path("datasets/<str:dataset_id>", api.dataset),
    path("datasets/<str:dataset_id>/errors.csv", api.errors_csv),
]
