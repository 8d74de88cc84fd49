"""What a task template is. A new one is a file beside this and a line in `__init__`.

Nothing here imports torch: the control plane reads templates to draw forms and to validate parameters. The torch half
is imported inside `train`.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from workers.contracts.errors import UserError
from workers.contracts.job import DatasetKind

if TYPE_CHECKING:
    from workers.engine.run import Run, Trained

Preset = Literal["fast", "balanced", "best"]
PRESETS: tuple[Preset, ...] = ("fast", "balanced", "best")


class Params(BaseModel):
    """A template's parameters. The web form, the API schema and the docs are made from the fields.

    Each field carries `title`, `description`, bounds and, where only experts need it, `json_schema_extra={"advanced":
    True}`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class TaskTemplate(ABC):
    """One kind of task: what can be set, what goes in and out, how it is trained."""

    key: ClassVar[str]
    kind: ClassVar[DatasetKind]
    title: ClassVar[str]
    summary: ClassVar[str]
    # What serves its bundles, by its name in the table of workers/inference/runtime.py.
    predictor: ClassVar[str]
    params: ClassVar[type[Params]]
    # Parameters that a preset sets; what the user sets goes before them.
    presets: ClassVar[dict[Preset, dict[str, Any]]]
    # The metric that is shown first and that decides between models, for example "accuracy"; larger is better.
    main_metric: ClassVar[str]
    # JSON Schemas of one input and one prediction.
    input_schema: ClassVar[dict[str, Any]]
    output_schema: ClassVar[dict[str, Any]]

    @abstractmethod
    def toy_data(self, path: Path, seed: int = 0) -> None:
        """Write a small data.parquet (see IngestResult) that the template learns in seconds and that has a known
        answer."""

    @abstractmethod
    def train(self, run: "Run") -> "Trained":
        """Learn from the dataset version of a run. Imports torch. Raises JobError."""

    def resolve(self, preset: Preset, parameters: dict[str, Any]) -> Params:
        """Validated parameters: the preset's, overridden by the user's. Raises UserError `parameters_invalid`."""
        try:
            return self.params.model_validate({**self.presets[preset], **parameters})
        except ValidationError as error:
            fields = [
                {
                    "field": ".".join(str(part) for part in problem["loc"]),
                    "message": problem["msg"],
                }
                for problem in error.errors(include_url=False, include_input=False)
            ]
            raise UserError("parameters_invalid", fields=fields) from None

    def describe(self) -> dict[str, Any]:
        """The template as GET /api/v1/task-templates tells it."""
        return {
            "key": self.key,
            "kind": self.kind,
            "title": self.title,
            "summary": self.summary,
            "parameters": self.params.model_json_schema(),
            "presets": list(self.presets),
        }
