from django.urls import path

from apps.training import comparison_views, views

urlpatterns = [
    path("projects/<str:project_id>/templates", views.gallery, name="gallery"),
    path("projects/<str:project_id>/jobs", views.jobs, name="jobs"),
    path("projects/<str:project_id>/jobs/new", views.new, name="new"),
    path("projects/<str:project_id>/compare", comparison_views.compare, name="compare"),
    path("jobs/<str:job_id>/trials", comparison_views.trials, name="trials"),
    path("jobs/<str:job_id>", views.job, name="job"),
    path("jobs/<str:job_id>/cancel", views.cancel, name="cancel"),
    path("jobs/<str:job_id>/retry", views.retry, name="retry"),
]
