"""The registry of model versions."""

from typing import Any, ClassVar

from django.db import models
from django.utils.translation import gettext as _

from apps.core.ids import IdField
from workers.contracts.errors import UserError


class ModelVersionQuerySet(models.QuerySet["ModelVersion"]):
    def deployable(self) -> "ModelVersionQuerySet":
        """Those whose certificate has passed."""
        return self.filter(certificate__passed=True)

    def light(self) -> "ModelVersionQuerySet":
        """Without what only a model's own page shows."""
        return self.defer(*ModelVersion.heavy())


class ModelVersion(models.Model):
    """A trained, exported and certified model. Immutable; one per succeeded training job."""

    id = IdField("mdl")
    project = models.ForeignKey("projects.Project", on_delete=models.CASCADE, related_name="model_versions")
    # 1, 2, 3, … within the project.
    number = models.PositiveIntegerField()
    name = models.CharField(max_length=120)
    job = models.OneToOneField("training.Job", on_delete=models.PROTECT, related_name="model")
    dataset_version = models.ForeignKey(
        "datasets.DatasetVersion", on_delete=models.PROTECT, related_name="model_versions"
    )
    template = models.CharField(max_length=40)
    kind = models.CharField(max_length=20)
    preset = models.CharField(max_length=10)
    parameters = models.JSONField(default=dict)
    metrics = models.JSONField()
    report = models.JSONField()
    certificate = models.JSONField()
    manifest = models.JSONField()
    bundle_key = models.CharField(max_length=200)
    bundle_sha256 = models.CharField(max_length=64)
    bundle_bytes = models.BigIntegerField()
    created = models.DateTimeField(auto_now_add=True)

    objects = ModelVersionQuerySet.as_manager()

    class Meta:
        ordering: ClassVar = ["-created"]
        constraints: ClassVar = [models.UniqueConstraint(fields=["project", "number"], name="one_model_per_number")]

    def __str__(self) -> str:
        return f"{self.name} #{self.number}"

    @staticmethod
    def heavy(prefix: str = "") -> list[str]:
        """The fields that may be large: lists `defer` them. `prefix`: the way to a model."""
        return [f"{prefix}report", f"{prefix}manifest"]

    @property
    def is_deployable(self) -> bool:
        return bool(self.certificate.get("passed"))

    @property
    def takes_pairs(self) -> bool:
        """Whether an input is two texts."""
        return bool(self._preprocessing.get("pairs"))

    @property
    def answers_several(self) -> bool:
        """Whether an answer is a list of labels."""
        return bool(self.manifest.get("thresholds"))

    @property
    def _preprocessing(self) -> dict[str, Any]:
        return self.manifest.get("preprocessing", {})

    def misfit(self, other: "ModelVersion") -> str:
        """Why whoever calls this model could not be answered by the other one instead; "" where they could.

        Other classes do not matter: models learn new ones.
        """
        if self.template != other.template:
            return _("It does another task.")
        if self.takes_pairs != other.takes_pairs:
            return _("It takes two texts per input.") if other.takes_pairs else _("It takes one text per input.")
        if self.answers_several != other.answers_several:
            return _("It answers several labels.") if other.answers_several else _("It answers one label.")
        if unknown := sorted(self._columns - other._columns):
            return _("It does not know the column “%(name)s”.") % {"name": unknown[0]}
        return ""

    @property
    def _columns(self) -> set[str]:
        """The columns of a table that may be sent."""
        about = self._preprocessing
        return {column["name"] for column in about.get("columns", [])} | set(about.get("ignored", []))

    def variant(self, name: str) -> dict[str, Any] | None:
        """What its bundle's certificate says of a variant (workers.contracts.manifest.Variant); None without one."""
        return next((one for one in self.manifest.get("variants", []) if one["name"] == name), None)

    def require_variant(self, name: str) -> None:
        """That it has passed; the model itself is "". Raises UserError `certificate_missing`."""
        if not name or name in self.deployable_variants:
            return
        found = self.variant(name)
        reason = found["reason"] if found else _("Its bundle holds none.")
        message = _("The model has no %(variant)s variant that has passed.") % {"variant": name}
        raise UserError("certificate_missing", f"{message} {reason}")

    @property
    def deployable_variants(self) -> list[str]:
        """The names of the variants that have passed."""
        return [one["name"] for one in self.manifest.get("variants", []) if one["deployable"]]
