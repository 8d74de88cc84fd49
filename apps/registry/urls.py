from django.urls import path

from apps.registry import views

urlpatterns = [
    path("projects/<str:project_id>/models", views.models, name="models"),
    path("models/<str:model_id>", views.model, name="model"),
]
