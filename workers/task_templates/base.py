"""What a task template is. A new one is a file beside this and a line in `__init__`.

Nothing here imports torch: the control plane reads templates to draw forms and to validate parameters. The torch half
is imported inside `train`.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from workers.contracts.errors import UserError
from workers.contracts.job import DatasetKind, Folds, Tune
from workers.task_templates.search_space import SearchSpace

if TYPE_CHECKING:
    from workers.engine.run import Run, Trained

Preset = Literal["fast", "balanced", "best"]
PRESETS: tuple[Preset, ...] = ("fast", "balanced", "best")
# Marks parameters that say how often to train, not how: the form shows them apart.
PLAN: dict[str, Any] = {"plan": True}
# Marks parameters that only experts need.
ADVANCED: dict[str, Any] = {"advanced": True}


class Params(BaseModel):
    """A template's parameters. The web form, the API schema and the docs are made from the fields.

    Each field carries `title`, `description`, bounds and, where it is so, `json_schema_extra=ADVANCED`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    tune: Tune | None = Field(
        default=None,
        title="Search for better settings",
        description='Train again and again with other settings, {"trials": 20} or {"minutes": 10}, and keep the model '
        "that is best on the validation rows. What is set here is not searched. Empty: no search.",
        json_schema_extra=PLAN,
    )


class FoldedParams(Params):
    """Parameters of templates whose rows can be dealt into folds."""

    folds: Folds = Field(
        default=0,
        title="Cross-validation folds",
        description="Into how many parts the training and validation rows are dealt; each is judged by a model that "
        "learned from the others. 0: no cross-validation. The test rows stay apart.",
        json_schema_extra=PLAN,
    )
    average_folds: bool = Field(
        default=False,
        title="Average the folds' models",
        description="Instead of one model, export one that answers with the mean probability of the folds' models.",
        json_schema_extra=PLAN,
    )

    @property
    def is_average(self) -> bool:
        """Whether the folds' models together are the result."""
        return self.average_folds and self.folds > 0


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
    # What `tune` searches, among parameters that every preset gives a value inside its range.
    search_space: ClassVar[SearchSpace] = {}
    # The metric that is shown first and that decides between models, for example "accuracy"; larger is better.
    main_metric: ClassVar[str]
    # JSON Schemas of one input and one prediction.
    input_schema: ClassVar[dict[str, Any]]
    output_schema: ClassVar[dict[str, Any]]

    # For the model card: how predict.py is called (EXAMPLE is the first example of the input schema, as JSON), what it
    # needs, and what the model cannot do ({name} is a setting of manifest.preprocessing).
    command: ClassVar[str]
    libraries: ClassVar[str] = "numpy onnxruntime"
    limits: ClassVar[str]

    @abstractmethod
    def toy_data(self, path: Path, seed: int = 0) -> None:
        """Write a small data.parquet (see IngestResult) that the template learns in seconds and that has a known
        answer."""

    @abstractmethod
    def train(self, run: "Run") -> "Trained":
        """Learn from the dataset version of a run. Imports torch. Raises JobError."""

    def metric_for(self, multi_label: bool) -> str:
        """The main metric, or what takes its place where rows have several labels."""
        return self.main_metric

    def resolve(self, preset: Preset, parameters: dict[str, Any]) -> Params:
        """Validated parameters: the preset's, overridden by the user's. Raises UserError `parameters_invalid`."""
        try:
            params = self.params.model_validate({**self.presets[preset], **parameters})
        except ValidationError as error:
            fields = [
                {
                    "field": ".".join(str(part) for part in problem["loc"]),
                    "message": problem["msg"],
                }
                for problem in error.errors(include_url=False, include_input=False)
            ]
            raise UserError("parameters_invalid", fields=fields) from None
        if params.tune and not self.searched(parameters):
            message = "Nothing is left to search: all that could be is set already."
            raise UserError("parameters_invalid", fields=[{"field": "tune", "message": message}])
        return params

    def searched(self, parameters: dict[str, Any]) -> SearchSpace:
        """What a search varies: the template's ranges without the parameters that the user set."""
        return {name: values for name, values in self.search_space.items() if name not in parameters}

    def describe(self) -> dict[str, Any]:
        """The template as GET /api/v1/task-templates tells it."""
        return {
            "key": self.key,
            "kind": self.kind,
            "title": self.title,
            "summary": self.summary,
            "parameters": self.params.model_json_schema(),
            "presets": list(self.presets),
            "search_space": {name: values.describe() for name, values in self.search_space.items()},
        }


# A prediction of a model whose inputs may have several labels, or none.
SEVERAL_LABELS: dict[str, Any] = {
    "type": "object",
    "required": ["labels", "label", "score", "scores"],
    "properties": {
        "labels": {"type": "array", "items": {"type": "string"}, "description": "All that apply, the likeliest first."},
        "label": {"type": "string", "description": "The most likely label, whether it applies or not."},
        "score": {"type": "number", "description": "Its probability."},
        "scores": {"type": "object", "additionalProperties": {"type": "number"}},
    },
}


class ClassificationTemplate(TaskTemplate):
    """Something gets one of the labels of its training data."""

    main_metric = "accuracy"
    output_schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "required": ["label", "score", "scores"],
        "properties": {
            "label": {"type": "string", "description": "The most likely class."},
            "score": {"type": "number", "description": "Its probability."},
            "scores": {"type": "object", "additionalProperties": {"type": "number"}},
        },
    }

    def metric_for(self, multi_label: bool) -> str:
        """Whole sets of labels are seldom right: what counts is each."""
        return "micro_f1" if multi_label else self.main_metric
