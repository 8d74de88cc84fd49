"""Recommendation: what a user may like next, from what all users did."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from workers.contracts.kinds import DatasetKind
from workers.task_templates.base import ADVANCED, Params, Preset, TaskTemplate
from workers.task_templates.search_space import Range, SearchSpace

if TYPE_CHECKING:
    from workers.engine.run import Run, Trained


class RecommendationParams(Params):
    """What can be set for a recommender."""

    algorithm: Literal["auto", "ease", "als"] = Field(
        default="auto",
        title="Algorithm",
        description="“ease” weighs every pair of items: for catalogues of thousands. “als” gives users and items "
        "factors: for catalogues of any size. “auto” tries these and item neighbourhoods, and where times are known "
        "what follows what; EASE up to 8,000 items.",
    )
    blend: bool = Field(
        default=True,
        title="Blend algorithms",
        description="Let the best settings of each algorithm answer together, weighed on the validation rows. Else the "
        "best algorithm answers alone.",
    )
    trials: int = Field(
        default=2,
        ge=1,
        le=100,
        title="Settings to try",
        description="How many settings of each algorithm are tried on the validation rows before the best are trained "
        "on all rows but the test rows.",
    )
    ratings: Literal["auto", "ignore", "weight", "threshold"] = Field(
        default="auto",
        title="Use of ratings",
        description="“weight”: a high rating counts more than a low one. “threshold”: only ratings from “Lowest good "
        "rating” on count; right for stars, where a low rating means dislike. “ignore”: every row counts as one. "
        "“auto”: what ranks best on the validation rows, weights or all alike.",
    )
    min_rating: float | None = Field(
        default=None,
        title="Lowest good rating",
        description="For “threshold”: ratings below it only mark an item as seen. Empty: the average rating.",
    )
    min_interactions: int = Field(
        default=1,
        ge=1,
        le=10_000,
        title="Fewest users per item",
        description="Items that fewer users met are left out and never recommended.",
    )
    k: int = Field(
        default=10,
        ge=1,
        le=1000,
        title="Items per answer",
        description="How many items the endpoint returns when a request does not say.",
    )
    regularization: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        title="Regularization (λ)",
        description="Caution against chance patterns: higher is more cautious. Empty: chosen on the validation rows.",
        json_schema_extra=ADVANCED,
    )
    dropout: float = Field(
        default=0.5,
        ge=0,
        le=0.95,
        title="Dropout (EASE)",
        description="The share of each history that is hidden in training, against learning by heart.",
        json_schema_extra=ADVANCED,
    )
    entries: int | None = Field(
        default=None,
        ge=0,
        le=100_000,
        title="Neighbours per item (EASE)",
        description="How many other items each item speaks for; 0 keeps all. Empty: 1,000 where that loses next to "
        "nothing on the validation rows; bundles become smaller.",
        json_schema_extra=ADVANCED,
    )
    factors: int = Field(
        default=64,
        ge=1,
        le=1024,
        title="Factors (ALS)",
        description="Numbers that describe a user or an item.",
        json_schema_extra=ADVANCED,
    )
    alpha: float | None = Field(
        default=None,
        gt=0,
        le=10_000,
        title="Confidence (α, ALS)",
        description="How much more a met item counts than one that was not met. Empty: chosen on the validation rows.",
        json_schema_extra=ADVANCED,
    )
    iterations: int = Field(
        default=10,
        ge=1,
        le=500,
        title="Iterations (ALS)",
        description="How often users and items are solved in turn.",
        json_schema_extra=ADVANCED,
    )


class Recommendation(TaskTemplate):
    """Interactions of users and items; ids are strings."""

    key = "recommendation"
    kind: ClassVar[DatasetKind] = "recommendation"
    title = "Recommendation"
    summary = (
        "Suggest what a user may like next: products, articles, music. Learns from who met what, with or without "
        "ratings, and is always measured against simply showing what is popular."
    )
    predictor = "ranked-items"
    command = "python predict.py --user u1 --k 10"
    limits = "It knows the users and items of its training data; others get the most popular items."
    params = RecommendationParams
    presets: ClassVar[dict[Preset, dict[str, Any]]] = {
        "fast": {},
        "balanced": {"trials": 4, "factors": 128},
        "best": {"trials": 6, "factors": 128, "iterations": 12},
    }
    # λ and α are not among these: each training chooses them itself on the validation rows.
    search_space: ClassVar[SearchSpace] = {
        "dropout": Range(0.1, 0.8),
        "factors": Range(16, 256, log=True),
        "min_interactions": Range(1, 5),
    }
    main_metric = "recall@20"
    input_schema: ClassVar[dict[str, Any]] = {
        "title": "User or items",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "user": {"type": "string", "description": "A user of the training data; others get what is popular."},
            "items": {
                "type": "array",
                "items": {"type": "string"},
                "minItems": 1,
                "maxItems": 1000,
                "description": "Instead of a user: items that somebody likes, the latest last. Unknown ones are "
                "ignored.",
            },
            "k": {"type": "integer", "minimum": 1, "maximum": 1000, "description": "How many items to return."},
            "exclude_seen": {
                "type": "boolean",
                "default": True,
                "description": "Leave out what the user already met, or the items sent.",
            },
        },
        "oneOf": [{"required": ["user"]}, {"required": ["items"]}],
        "examples": [{"user": "u1", "k": 10, "exclude_seen": True}, {"items": ["a", "b"], "k": 10}],
    }
    output_schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "required": ["items"],
        "properties": {
            "items": {
                "type": "array",
                "description": "The best items first.",
                "items": {
                    "type": "object",
                    "required": ["item", "score"],
                    "properties": {
                        "item": {"type": "string"},
                        "score": {"type": "number", "description": "For ranking only; not a probability."},
                    },
                },
            },
            "fallback": {
                "const": "popularity",
                "description": "Present where nothing is known of the user: these are the most popular items.",
            },
        },
    }

    def toy_data(self, path: Path, seed: int = 0) -> None:
        """Two groups of users with a taste each: nobody meets an item of the other group, nor should be told to."""
        from workers.task_templates.toy import write_toy_interactions

        write_toy_interactions(path, seed)

    def train(self, run: "Run") -> "Trained":
        """Choose settings on the validation rows, then learn from all rows but the test rows. Raises JobError."""
        from workers.engine.recommenders.train import train_recommender

        return train_recommender(run)
