from django.urls import path

from apps.endpoints import views

urlpatterns = [
    path("projects/<str:project_id>/endpoints", views.endpoints, name="endpoints"),
    path("projects/<str:project_id>/endpoints/new", views.new, name="new"),
    path("endpoints/<str:endpoint_id>", views.endpoint, name="endpoint"),
    path("endpoints/<str:endpoint_id>/try", views.try_it, name="try"),
    path("endpoints/<str:endpoint_id>/deploy", views.deploy, name="deploy"),
    path("endpoints/<str:endpoint_id>/promote", views.promote, name="promote"),
    path("endpoints/<str:endpoint_id>/rollback", views.roll_back, name="roll_back"),
    path("endpoints/<str:endpoint_id>/delete", views.delete, name="delete"),
]
