"""Pages of this app."""

from django.urls import path

from apps.predictions import views

urlpatterns = [
    path("projects/<str:project_id>/predictions", views.predictions, name="predictions"),
    path("models/<str:model_id>/predict", views.new, name="new"),
    path("endpoints/<str:endpoint_id>/predict", views.new, name="new-by-endpoint"),
    path("models/<str:model_id>/predict/<str:upload_id>", views.choose, name="choose"),
    path("endpoints/<str:endpoint_id>/predict/<str:upload_id>", views.choose, name="choose-by-endpoint"),
    path("predictions/<str:prediction_id>", views.prediction, name="prediction"),
]
