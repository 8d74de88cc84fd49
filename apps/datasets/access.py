"""Loading datasets: see apps.teams.access."""

from apps.core.api import positive_int
from apps.datasets.models import Dataset, DatasetVersion, Upload
from apps.teams.access import Need, require
from apps.teams.models import User
from workers.contracts.errors import UserError


def dataset_for(actor: User, dataset_id: str, *, need: Need = "read") -> Dataset:
    """A dataset by id. Raises UserError `not_found` or `not_allowed`, and `conflict` where one in the trash is to be
    changed."""
    found = any_dataset_for(actor, dataset_id, need=need)
    if need != "read" and found.trashed:
        raise UserError("conflict", "The dataset is in the trash.", hint="Take it back first.")
    return found


def any_dataset_for(actor: User, dataset_id: str, *, need: Need = "read") -> Dataset:
    """A dataset by id, also to change one in the trash. Raises UserError `not_found` or `not_allowed`."""
    found = Dataset.every.select_related("project__team").filter(pk=dataset_id).first()
    if found is None:
        raise UserError("not_found")
    require(actor, found.project.team_id, need)
    return found


def version_for(actor: User, dataset_id: str, number: str | None = None) -> DatasetVersion:
    """A version of a dataset by its number, without one the latest. Raises UserError `not_found` or `not_allowed`."""
    dataset = dataset_for(actor, dataset_id)
    if number is None:
        return dataset.latest
    found = dataset.versions.filter(number=positive_int(number, "version")).first()
    if found is None:
        raise UserError("not_found")
    return found


def upload_for(actor: User, upload_id: str) -> Upload:
    """An upload by id: only its own creator's, while they may write to its team. Raises UserError `not_found`."""
    found = Upload.objects.select_related("team").filter(pk=upload_id, created_by=actor).first()
    if found is None:
        raise UserError("not_found")
    require(actor, found.team_id, "write")
    return found
