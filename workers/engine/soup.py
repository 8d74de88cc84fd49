"""Model soups: one network whose weights are the mean of several trainings from the same start.

Each training sees the examples in another order and drops out other units. Fine-tuned from the same pretrained weights,
they end in the same basin of the loss, so that their weights can be averaged: about as good as an ensemble, as small
and as fast as one network (Wortsman et al. 2022).
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from workers.engine.run import Run
from workers.engine.stages import Stage
from workers.engine.training import copied

NAMES = ("first", "second", "third", "fourth", "fifth", "sixth")
"""Of the trainings; their number is the most there can be."""
# Orders and dropout are drawn from the seed: those of a job's later trainings are no other job's first.
_BETWEEN_SEEDS = 1_000_000_007
# The next training is begun where so many times the longest so far is left of the time.
_TIMES_A_TRAINING = 1.3

Weights = dict[str, torch.Tensor]


def train_soup(
    run: Run,
    network: nn.Module,
    train: Callable[[Run, int], None],
    losses_of: Callable[[nn.Module], np.ndarray] | None,
    count: int,
    seconds: float,
) -> None:
    """Call `train`, which fits `network` in place, `count` times (it is told which, from 0 on) from its weights as they
    are now, and leave it with the mean of what they come to, but for what makes it worse.

    `losses_of`: of a network, float [validation rows]; without it the mean is of all. After the first, a training is
    begun only where the job has time for it, within its limit and its first `seconds`.
    """
    if count == 1:
        train(run, 0)
        return
    fresh, found, longest = copied(network), list[Weights](), 0.0
    stage: Stage | None = None
    for number, name in enumerate(NAMES[:count]):
        title = f"Round {number + 1} of {count}"
        low, high, seed = number / count, (number + 1) / count, run.seed + number * _BETWEEN_SEEDS
        stage = Stage(run, name, low, high, stage, seed=seed, title=title)
        left = min(run.seconds_left(), seconds - run.useful_seconds())
        # What an earlier attempt began goes on: the same model, however long that attempt took.
        if found and not _agreed(run, left > _TIMES_A_TRAINING * longest or stage.checkpoints.last_step() > 0):
            run.log(f"There is no time for more than {number} of {count} rounds.")
            break
        began = run.useful_seconds()
        network.load_state_dict(fresh)
        run.log(f"{title}, from the same start in another order." if number else f"{title}.")
        train(stage, number)
        found.append(copied(network))
        longest = max(longest, run.useful_seconds() - began)
    chosen = _chosen(network, found, losses_of) if losses_of else list(range(len(found)))
    network.load_state_dict(mean([found[number] for number in chosen]))
    run.choose(encoder_rounds=len(found), encoder_averaged=len(chosen))
    if len(found) > 1:
        run.log(f"The weights are the mean of those of {len(chosen)} of {len(found)} rounds.")


def _agreed(run: Run, go: bool) -> bool:
    return run.world.agree([float(go)])[0] > 0


def _chosen(network: nn.Module, found: Sequence[Weights], losses_of: Callable[[nn.Module], np.ndarray]) -> list[int]:
    """The best alone, then, from good to bad, each with which the mean does no worse, or by less than its standard
    error: a mean is the surer guess as long as the validation rows do not speak against it."""

    def losses(members: Sequence[int]) -> np.ndarray:
        network.load_state_dict(mean([found[number] for number in members]))
        return losses_of(network)

    alone = [losses([number]) for number in range(len(found))]
    best, *others = sorted(range(len(found)), key=lambda number: float(alone[number].sum()))
    chosen, now = [best], alone[best]
    for number in others:
        together = losses([*chosen, number])
        worse = together - now
        if worse.sum() <= worse.std() * np.sqrt(len(worse)):
            chosen, now = [*chosen, number], together
    return chosen


def mean(several: Sequence[Weights]) -> Weights:
    """The mean of weights that have the same names; what is no number with a fraction is the first's."""
    first = several[0]
    return {
        name: torch.stack([weights[name] for weights in several]).mean(dim=0) if tensor.is_floating_point() else tensor
        for name, tensor in first.items()
    }
