"""Control API of this app."""

from django.urls import path

from apps.training import api

urlpatterns = [
    path("task-templates", api.task_templates, name="task-templates"),
    path("jobs", api.jobs, name="jobs"),
    path("jobs/<str:job_id>", api.job, name="job"),
    path("jobs/<str:job_id>/cancel", api.cancel, name="cancel"),
    path("jobs/<str:job_id>/retry", api.retry, name="retry"),
    path("jobs/<str:job_id>/events", api.events, name="events"),
    path("jobs/<str:job_id>/trials", api.trials, name="trials"),
    path("jobs/<str:job_id>/series", api.series, name="series"),
]
