"""The trials of a search and the comparison of jobs: in the API and on pages."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from apps.teams.models import User
from apps.training import trials as searched
from apps.training.comparison import compare
from apps.training.models import Job, MetricPoint, Trial
from tests.cast import CANARY, Cast, make_job, make_model
from tests.training.stories import queued

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_url")]

Login = Callable[[User | None], APIClient]
RATES = (0.001, 0.002, 0.004, 0.008, 0.016, 0.02)


@pytest.fixture
def job(cast: Cast) -> Job:
    """A search of seven trials: the higher the rate the better, the sixth given up, the seventh under way."""
    job = queued(cast.ours.version, state=Job.State.RUNNING, parameters={"tune": {"trials": 20}})
    for number, rate in enumerate(RATES, 1):
        pruned = number == 6
        add(job, number, rate, "pruned" if pruned else "complete", 0.9 if pruned else 0.5 + number / 20)
    add(job, 7, 0.003, "running", None)
    return job


def add(job: Job, number: int, rate: float, state: str, score: float | None) -> Trial:
    return job.trials.create(
        number=number,
        parameters={"learning_rate": rate, "dropout": 0.5, "lowercase": True},
        state=state,
        score=score,
        scores=[[0, score / 2], [1, score]] if score else [],
        seconds=2.0,
        told=timezone.now(),
    )


@pytest.fixture
def browse(client: Client) -> Callable[[User], Client]:
    def sign_in(user: User) -> Client:
        client.force_login(user)
        return client

    return sign_in


def test_the_api_tells_every_trial_and_the_best_whole_one(api_of: Login, cast: Cast, job: Job) -> None:
    told = api_of(cast.victor).get(f"/api/v1/jobs/{job.pk}/trials").json()
    assert [trial["number"] for trial in told["trials"]] == [1, 2, 3, 4, 5, 6, 7]
    # The sixth was better when it was given up, but left no model.
    assert (told["metric"], told["best"]) == ("accuracy", 5)
    assert told["trials"][0]["parameters"] == {"learning_rate": 0.001, "dropout": 0.5, "lowercase": True}
    assert told["trials"][6]["state"] == "running" and told["trials"][6]["score"] is None
    # Score and rate rise together; dropout never varied; lowercase is no number.
    assert told["importance"] == {"learning_rate": 1.0, "dropout": 0.0}


def test_a_strangers_trials_are_not_found(api_of: Login, cast: Cast) -> None:
    add(cast.theirs.job, 1, 0.1, "complete", 0.5)
    reply = api_of(cast.bob).get(f"/api/v1/jobs/{cast.theirs.job.pk}/trials")
    assert reply.status_code == 404 and CANARY not in reply.content.decode()


def test_a_job_without_a_search_has_no_trials(api_of: Login, cast: Cast) -> None:
    told = api_of(cast.bob).get(f"/api/v1/jobs/{cast.ours.job.pk}/trials").json()
    assert (told["trials"], told["best"], told["importance"]) == ([], None, {})


def test_a_search_is_started_by_its_parameters(api_of: Login, cast: Cast) -> None:
    body = {"project": cast.ours.project.pk, "dataset": cast.ours.dataset.pk, "template": "text-classification"}
    reply = api_of(cast.bob).post("/api/v1/jobs", {**body, "parameters": {"tune": {"trials": 4}, "folds": 5}})
    assert reply.status_code == 202 and reply.json()["parameters"] == {"tune": {"trials": 4}, "folds": 5}
    for wrong in ({"tune": {"trials": 0}}, {"tune": {}}, {"folds": 1}, {"tune": {"hours": 1}}):
        reply = api_of(cast.bob).post("/api/v1/jobs", {**body, "parameters": wrong})
        assert (reply.status_code, reply.json()["error"]["code"]) == (422, "parameters_invalid")


def test_the_job_page_shows_the_trials_while_they_come(browse: Callable[[User], Client], cast: Cast, job: Job) -> None:
    page = browse(cast.victor).get(f"/jobs/{job.pk}", headers={"HX-Request": "true"}).content.decode()
    assert "7 trials" in page and "1 given up early" in page and "best: trial 5, accuracy 0.7500" in page
    assert f"/jobs/{job.pk}/trials" in page and "0.016" in page


@pytest.mark.parametrize(
    ("sort", "first"),
    [
        ("", 6),
        ("-score", 6),
        ("score", 1),
        ("number", 1),
        ("-number", 7),
        ("learning_rate", 1),
        ("-learning_rate", 6),
        ("nonsense", 6),
        ("x" * 500, 6),
    ],
)
def test_trials_are_sorted_by_any_column(cast: Cast, job: Job, sort: str, first: int) -> None:
    assert searched.comparison(job, sort)["rows"][0]["trial"].number == first


def test_the_page_of_all_trials_sorts_on_request(browse: Callable[[User], Client], cast: Cast, job: Job) -> None:
    page = browse(cast.victor).get(f"/jobs/{job.pk}/trials?sort=learning_rate").content.decode()
    assert 'aria-sort="ascending"' in page and "+1.00" in page
    empty = browse(cast.victor).get(f"/jobs/{cast.ours.job.pk}/trials").content.decode()
    assert "This job searches nothing" in empty


def test_what_was_under_way_when_the_job_ended_is_not_running(cast: Cast, job: Job) -> None:
    Job.objects.filter(pk=job.pk).update(state=Job.State.CANCELLED)
    job.refresh_from_db()
    rows = {row["trial"].number: row["state"] for row in searched.comparison(job, "number")["rows"]}
    assert rows[7] == "stopped" and rows[1] == "complete"


# --- Jobs side by side ---


def trained(cast: Cast, name: str, accuracy: float, **parameters: Any) -> Job:
    metrics = {"validation": {"accuracy": accuracy}, "test": {"accuracy": accuracy, "log_loss": 1 - accuracy}}
    job = make_job(cast.ours.version, name=name, state=Job.State.SUCCEEDED, metrics=metrics, parameters=parameters)
    make_model(job, parameters={"epochs": 3, **parameters}, metrics=metrics)
    MetricPoint.objects.create(job=job, name="validation/accuracy", step=10, value=accuracy)
    return Job.objects.select_related("model", "dataset_version__dataset").get(pk=job.pk)


def test_jobs_are_compared_by_what_differs_and_what_is_best(cast: Cast) -> None:
    jobs = [trained(cast, "A", 0.8, dropout=0.5), trained(cast, "B", 0.9, dropout=0.3)]
    found = compare(jobs)
    rows = {(row["name"], row["split"]): row["cells"] for row in found["metrics"]}
    assert [cell["best"] for cell in rows["Accuracy", "test"]] == [False, True]
    # Less is better.
    assert [cell["best"] for cell in rows["Log loss", "test"]] == [False, True]
    assert [(row["name"], row["values"], row["differ"]) for row in found["parameters"]] == [
        ("dropout", ["0.5", "0.3"], True),
        ("epochs", ["3", "3"], False),
    ]
    assert [line["data"] for line in found["quality"]["series"]] == [[[10, 0.8]], [[10, 0.9]]]
    assert found["loss"] is None
    # What is the same in all is shown on request.
    assert [row["minor"] for row in found["parameters"]] == [False, True]


def test_means_over_folds_are_compared_with_their_spread(cast: Cast) -> None:
    job = trained(cast, "Folded", 0.8, folds=5)
    job.metrics["cross_validation"] = {"folds": 5, "mean": {"accuracy": 0.81}, "std": {"accuracy": 0.02}}
    rows = {(row["name"], row["split"]): row["cells"] for row in compare([job, trained(cast, "B", 0.9)])["metrics"]}
    assert rows["Accuracy", "over folds"][0] == {"value": 0.81, "best": False, "spread": 0.02}
    assert rows["Accuracy", "over folds"][1]["value"] is None


def test_the_comparison_page_takes_chosen_jobs_or_the_newest(browse: Callable[[User], Client], cast: Cast) -> None:
    jobs = [trained(cast, name, 0.8) for name in ("First one", "Second one", "Third one")]
    address = f"/projects/{cast.ours.project.pk}/compare"
    page = browse(cast.victor).get(address).content.decode()
    assert "2. " in page and "Third one" in page
    page = browse(cast.victor).get(f"{address}?job={jobs[0].pk}&job={jobs[2].pk}").content.decode()
    assert "1. First one" in page and "2. Third one" in page and "3. " not in page


def test_a_strangers_job_is_not_compared(browse: Callable[[User], Client], cast: Cast) -> None:
    ours = trained(cast, "Ours", 0.8)
    reply = browse(cast.victor).get(f"/projects/{cast.ours.project.pk}/compare?job={ours.pk}&job={cast.theirs.job.pk}")
    assert reply.status_code == 404 and CANARY not in reply.content.decode()


# --- The form ---


def form_of(cast: Cast, **fields: str) -> dict[str, str]:
    return {"dataset": cast.ours.dataset.pk, "preset": "fast", "search": "", "folds": "0", **fields}


@pytest.mark.parametrize(
    ("fields", "parameters"),
    [
        ({}, {}),
        ({"search": "trials", "search_amount": "12"}, {"tune": {"trials": 12}}),
        ({"search": "minutes", "search_amount": "5"}, {"tune": {"minutes": 5}}),
        ({"folds": "5", "average_folds": "on"}, {"folds": 5, "average_folds": True}),
        # What is hidden says nothing.
        ({"search_amount": "12", "average_folds": "on"}, {}),
    ],
)
def test_the_form_starts_searches_and_folds(
    browse: Callable[[User], Client], cast: Cast, fields: dict[str, str], parameters: dict[str, Any]
) -> None:
    address = f"/projects/{cast.ours.project.pk}/jobs/new?template=text-classification"
    assert browse(cast.bob).post(address, form_of(cast, **fields)).status_code == 303
    assert Job.objects.filter(state=Job.State.QUEUED).get().parameters == parameters


def test_a_search_needs_an_amount(browse: Callable[[User], Client], cast: Cast) -> None:
    address = f"/projects/{cast.ours.project.pk}/jobs/new?template=text-classification"
    reply = browse(cast.bob).post(address, form_of(cast, search="trials", search_amount=""))
    assert reply.status_code == 422 and "Say how many." in reply.content.decode()


def test_the_form_says_how_long_a_trial_may_take(browse: Callable[[User], Client], cast: Cast) -> None:
    address = f"/projects/{cast.ours.project.pk}/jobs/new?template=text-classification"
    Job.objects.update(state=Job.State.CANCELLED)
    assert "takes about as long as one training" in browse(cast.bob).get(address).content.decode()
    plain, tuned = trained(cast, "Plain", 0.8), trained(cast, "Tuned", 0.8, tune={"trials": 2})
    for job, seconds in ((plain, 45), (tuned, 900)):
        job.attempts.create(number=1, started=job.started, ended=job.started + timedelta(seconds=seconds))
    assert "The last such training took 45 s" in browse(cast.bob).get(address).content.decode()
