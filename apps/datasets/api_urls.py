"""Control API: uploads and datasets."""

from django.urls import path

from apps.datasets import api, fetch_api, tus

urlpatterns = [
    path("uploads", tus.begin),
    path("uploads/fetch", fetch_api.begin),
    path("uploads/<str:upload_id>/fetch", fetch_api.fetch),
    path("uploads/<str:upload_id>", tus.upload, name="upload"),
    path("uploads/<str:upload_id>/preview", api.preview),
    path("datasets", api.datasets),
    path("datasets/<str:dataset_id>", api.dataset),
    path("datasets/<str:dataset_id>/errors.csv", api.errors_csv),
    path("datasets/<str:dataset_id>/data", api.data, name="data"),
    path("datasets/<str:dataset_id>/untrash", api.untrash),
    path("datasets/<str:dataset_id>/append", api.append),
    path("datasets/<str:dataset_id>/restore", api.restore),
    path("datasets/<str:dataset_id>/repair", api.repair),
    path("datasets/<str:dataset_id>/diff", api.diff),
    path("datasets/<str:dataset_id>/rows", api.rows),
    path("datasets/<str:dataset_id>/rows/<int:row>/image", api.row_image, name="row-image"),
]
