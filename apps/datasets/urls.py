"""Pages of this app."""

from django.urls import path

from apps.datasets import row_views, views

urlpatterns = [
    path("projects/<str:project_id>/datasets", views.datasets, name="datasets"),
    path("projects/<str:project_id>/datasets/new", views.new, name="new"),
    path("projects/<str:project_id>/datasets/new/<str:upload_id>", views.preview, name="preview"),
    path("datasets/<str:dataset_id>", views.dataset, name="dataset"),
    path("datasets/<str:dataset_id>/restore/<int:number>", views.restore, name="restore"),
    path("datasets/<str:dataset_id>/rows", row_views.rows, name="rows"),
    path("datasets/<str:dataset_id>/rows/<int:row>/label", row_views.relabel, name="relabel"),
    path("datasets/<str:dataset_id>/rows/<int:row>/image", row_views.image, name="image"),
]
