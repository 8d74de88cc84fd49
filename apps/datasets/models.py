"""Data: uploads, datasets and their immutable versions."""

from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.core.ids import IdField
from workers.contracts.kinds import KINDS

if TYPE_CHECKING:
    from apps.teams.models import User


class Kind(models.TextChoices):
    TEXT = "text", _("Text")
    IMAGE = "image", _("Images")
    RECOMMENDATION = "recommendation", _("User–item interactions")
    TABULAR = "tabular", _("Table")


class Upload(models.Model):
    """A file on its way in, by the tus protocol or in one piece. Bytes lie in storage under `key`."""

    id = IdField("upl")
    team = models.ForeignKey("teams.Team", on_delete=models.CASCADE, related_name="uploads")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    # The owner's name for it: shown, never used as a path.
    filename = models.CharField(max_length=255)
    size = models.BigIntegerField()
    # Where a runner is to fetch it from; blank where its owner sends it. Until it is here its size is 0.
    url = models.TextField(blank=True)
    # Bytes that are safe on disk.
    offset = models.BigIntegerField(default=0)
    key = models.CharField(max_length=200)
    created = models.DateTimeField(auto_now_add=True)
    expires = models.DateTimeField()
    finished = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.filename


class DatasetQuerySet(models.QuerySet["Dataset"]):
    def visible_to(self, user: "User") -> "DatasetQuerySet":
        """Those of the user's teams."""
        return self.filter(project__team__memberships__user=user)

    def in_trash(self) -> "DatasetQuerySet":
        """Those that can still be taken back."""
        return self.filter(trashed__isnull=False, removed=None)

    def with_versions(self) -> "DatasetQuerySet":
        """With their versions, newest first, as far as lists show them."""
        light = DatasetVersion.objects.defer(*DatasetVersion.heavy())
        return self.prefetch_related(models.Prefetch("versions", light))


class KeptDatasets(models.Manager["Dataset"]):
    """Those that are not in the trash, also as `project.datasets`."""

    def get_queryset(self) -> DatasetQuerySet:
        """Without those in the trash."""
        return DatasetQuerySet(self.model, using=self._db).filter(trashed=None)


class Dataset(models.Model):
    """A named line of dataset versions."""

    id = IdField("dst")
    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, related_name="datasets")
    name = models.CharField(_("name"), max_length=120)
    kind = models.CharField(max_length=20, choices=Kind.choices)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    trashed = models.DateTimeField(null=True)
    # Since when its data is gone for good; what was trained on it still names it.
    removed = models.DateTimeField(null=True)

    objects = KeptDatasets.from_queryset(DatasetQuerySet)()
    every = DatasetQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-created"]

    def __str__(self) -> str:
        return self.name

    @property
    def is_labelled(self) -> bool:
        """Whether its rows have labels, which can be corrected."""
        return any(name == self.kind and kind.labelled for name, kind in KINDS.items())

    @property
    def latest(self) -> "DatasetVersion":
        """The newest version that did not fail, or else the newest: every dataset has one."""
        numbered = self.versions.order_by("-number")
        return numbered.exclude(state=DatasetVersion.State.FAILED).first() or numbered[0]


class DatasetVersion(models.Model):
    """One immutable state of a dataset, made by an ingest job, or an earlier one once more."""

    class State(models.TextChoices):
        PROCESSING = "processing", _("Processing")
        READY = "ready", _("Ready")
        FAILED = "failed", _("Failed")

    class Origin(models.TextChoices):
        IMPORT = "import", _("Import")
        CORRECTION = "correction", _("Correction")
        REPAIR = "repair", _("Repair")
        RESTORED = "restored", _("Restored")
        APPEND = "append", _("Append")

    id = IdField("dsv")
    dataset = models.ForeignKey(Dataset, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    state = models.CharField(max_length=12, choices=State.choices, default=State.PROCESSING)
    origin = models.CharField(max_length=12, choices=Origin.choices, default=Origin.IMPORT)
    parent = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="children")
    # Of a repair its name (see workers.ingest.repairs).
    repair = models.CharField(max_length=40, blank=True)
    source_key = models.CharField(max_length=200)
    source_name = models.CharField(max_length=255)
    # The files it is made of, [{"key", "name", "url"?}], where they are several or come from an address; the first of
    # them is the source.
    sources = models.JSONField(default=list)
    mapping = models.JSONField(default=dict)
    # How the files are to be read, as far as somebody said so: see workers.contracts.job.FileOptions.
    options = models.JSONField(default=dict)
    # Filled from IngestResult when the job has succeeded.
    data_key = models.CharField(max_length=200, blank=True)
    errors_key = models.CharField(max_length=200, blank=True)
    # Which rows the data doctor found what in; blank where in none.
    findings_key = models.CharField(max_length=200, blank=True)
    # What was seen of each image; blank for other data.
    looks_key = models.CharField(max_length=200, blank=True)
    # suspects.parquet of the newest training on this version or, where it is edited, on its parent.
    suspects_key = models.CharField(max_length=200, blank=True)
    # Of an edited version which row of its parent each row was; blank where nothing says.
    lineage_key = models.CharField(max_length=200, blank=True)
    content_hash = models.CharField(max_length=64, blank=True)
    data_bytes = models.BigIntegerField(default=0)
    rows = models.BigIntegerField(default=0)
    rejected = models.BigIntegerField(default=0)
    columns = models.JSONField(default=list)
    classes = models.JSONField(default=dict)
    splits = models.JSONField(default=dict)
    profile = models.JSONField(default=dict)
    issues = models.JSONField(default=list)
    error = models.JSONField(null=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering: ClassVar = ["-number"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["dataset", "number"], name="one_version_per_number")]
        # Whether a dataset is made of an upload.
        indexes: ClassVar = [
            models.Index(fields=["source_key"], name="versions_by_source"),
            GinIndex(fields=["sources"], opclasses=["jsonb_path_ops"], name="versions_by_sources"),
        ]

    def __str__(self) -> str:
        return f"{self.dataset.name} v{self.number}"

    @staticmethod
    def heavy(prefix: str = "") -> list[str]:
        """The fields that may be large: lists `defer` them. `prefix`: the way to a version."""
        return [prefix + name for name in ("sources", "columns", "classes", "profile", "issues")]

    @property
    def is_multi_label(self) -> bool:
        """Whether its rows have several labels each, or none."""
        return bool(self.profile.get("multi_label"))
