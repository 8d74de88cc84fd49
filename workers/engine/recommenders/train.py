"""Training a recommender: settings are chosen on the validation rows, then everything but the test rows is learned."""

from typing import TYPE_CHECKING, cast

import numpy as np

from workers.contracts.errors import JobError
from workers.engine.ranking import evaluate
from workers.engine.recommenders.candidates import candidates
from workers.engine.recommenders.interactions import (
    TEST,
    TRAIN,
    VALIDATION,
    HeldOut,
    Histories,
    histories,
    hold_out,
)
from workers.engine.recommenders.judging import item_knn
from workers.engine.recommenders.learning import Learning
from workers.engine.recommenders.reading import Weighing, read_log
from workers.engine.recommenders.search import quality
from workers.engine.recommenders.trained import Study, TrainedRecommender
from workers.task_templates.recommendation import RecommendationParams

if TYPE_CHECKING:
    from workers.engine.run import Run

# Users that settings are compared on; more would hardly change the order and take long on large data.
_JUDGES = 5_000
# Interactions that settings are tried on, and users that the model is judged and certified on, where there are more.
_SEARCHED = 2_000_000
_JUDGED = 50_000
# Ratings to the power of 0 are all alike.
_POWERS = (1.0, 0.5, 0.0)


def train_recommender(run: "Run") -> TrainedRecommender:
    """Learn from the interactions of a run. Raises JobError."""
    params = cast(RecommendationParams, run.params)
    run.progress(0.0, "Reading the interactions")
    log, weighing = read_log(run.data_path, params.ratings, params.min_rating, run.seed)
    first = histories(log, log.split == TRAIN, params.min_interactions)
    validation = hold_out(log, log.split == VALIDATION, first).thinned(_JUDGES)
    known = histories(log, log.split != TEST, params.min_interactions)
    if not known.matrix.nnz or not first.matrix.nnz:
        raise JobError(
            "too_few_rows",
            "No interaction is left to learn from.",
            hint="Lower the fewest users per item, or look at the ratings.",
        )
    test = hold_out(log, log.split == TEST, known).thinned(_JUDGED)
    if not len(validation.users) and not len(test.users):
        raise JobError(
            "too_few_rows",
            "No row is left to judge a model by.",
            hint="Add interactions: ten per user are a start; or give a split column with test rows.",
        )
    if weighing.mode == "weight" and params.ratings == "auto" and len(validation.users):
        first, known, weighing = _use_of_ratings(first, validation, known, weighing)
        run.choose(ratings=weighing.mode)
    solvers, reason = candidates(params, known, run.device, run.seed)
    run.log(f"{weighing.explanation} {len(known.users):,} users, {len(known.items):,} items. {reason}")
    first, validation = first.sampled(validation, _SEARCHED)
    learning = Learning(run, solvers, params)
    recipe, validated = learning.search(first, validation)
    model = learning.finish(known, recipe, first.matrix.nnz)
    run.choose(algorithm=recipe.name, why_algorithm=reason)
    study = Study(log, first, validation, known, test, weighing, recipe, reason, validated, learning.trials)
    return TrainedRecommender(run, study, model)


def _use_of_ratings(
    first: Histories, validation: HeldOut, known: Histories, weighing: Weighing
) -> tuple[Histories, Histories, Weighing]:
    """Whether liking more should count more is decided on the validation rows, by what needs no search: item-kNN."""
    found = [
        quality(evaluate(item_knn(tempered), tempered, validation).metrics)
        for tempered in (first.tempered(power) for power in _POWERS)
    ]
    power = _POWERS[int(np.argmax(found))]
    if power == 1:
        return first, known, weighing
    if power == 0:
        text = "Ratings as weights ranked worse on the validation rows: every interaction counts as one."
        return first.tempered(0), known.tempered(0), Weighing("ignore", None, text)
    text = f"{weighing.explanation} Of that the square root is taken, which ranked best on the validation rows."
    return first.tempered(power), known.tempered(power), weighing._replace(explanation=text)
