"""Pages of this app."""

from django.urls import path

from apps.datasets import append_views, edit_views, row_views, views

urlpatterns = [
    path("projects/<str:project_id>/datasets", views.datasets, name="datasets"),
    path("projects/<str:project_id>/datasets/new", views.new, name="new"),
    path("projects/<str:project_id>/datasets/trash", edit_views.trash, name="trash"),
    path("projects/<str:project_id>/datasets/new/<str:upload_id>", views.preview, name="preview"),
    path("datasets/<str:dataset_id>", views.dataset, name="dataset"),
    path("datasets/<str:dataset_id>/settings", edit_views.settings, name="settings"),
    path("datasets/<str:dataset_id>/put-into-trash", edit_views.put_into_trash, name="put-into-trash"),
    path("datasets/<str:dataset_id>/untrash", edit_views.untrash, name="untrash"),
    path("datasets/<str:dataset_id>/repair", edit_views.repair, name="repair"),
    path("datasets/<str:dataset_id>/diff", edit_views.diff, name="diff"),
    path("datasets/<str:dataset_id>/append", append_views.choose, name="append"),
    path("datasets/<str:dataset_id>/append/<str:upload_id>", append_views.check, name="append-check"),
    path("datasets/<str:dataset_id>/restore/<int:number>", views.restore, name="restore"),
    path("datasets/<str:dataset_id>/rows", row_views.rows, name="rows"),
    path("datasets/<str:dataset_id>/rows/matching", row_views.matching, name="matching"),
    path("datasets/<str:dataset_id>/rows/labels", row_views.relabel, name="relabel"),
    path("datasets/<str:dataset_id>/rows/<int:row>/image", row_views.image, name="image"),
]
