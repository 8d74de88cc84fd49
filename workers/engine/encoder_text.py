"""Text classifiers on a pretrained encoder, fine-tuned or frozen; alone, or beside a network from scratch."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from workers.contracts.errors import JobError
from workers.engine.calibration import Tempered, fit_temperature, tempered
from workers.engine.encoder import (
    ENCODER_SETTINGS,
    Source,
    encoder_batch,
    find_encoder,
    freeze_embeddings,
    layer_groups,
    load_body,
    load_tokenizer,
    positions,
    prepare_export,
    training_precision,
    width,
)
from workers.engine.encoder_head import Head, train_head
from workers.engine.examples import Examples, known_rows
from workers.engine.labels import training_labels
from workers.engine.links import probabilities, scores_of
from workers.engine.loop import fit, judged, predict, row_losses
from workers.engine.run import Run
from workers.engine.settings import Settings
from workers.engine.several_labels import said_of
from workers.engine.soup import train_soup
from workers.engine.stages import Stage
from workers.engine.text import TextExamples, TrainedText, may_learn_all
from workers.inference.text import TokenReader
from workers.task_templates.text_classification import TextParams

# Longer texts are cut where the user does not ask for more: attention grows with the square of the length, in training
# and for whoever serves the model.
_LONGEST = 256
_CHARS_PER_TOKEN = 12
_LEAST_STEPS = 150
_RATE = 2e-4
# Where a preset asks for the encoder: tokens times weights that training may read. Of the starter encoder 600,000
# tokens, which two cores read in two minutes with AMX, in four without.
_BUDGET = {"cpu": 6.5e12, "cuda": 6.5e14}
# How often and how far the texts are read, the best first; the first that the budget allows is taken.
_COURSES = ((3, 256), (2, 256), (2, 128), (1, 128))
_LEAST_OF_A_CLASS = 20
# Of all rounds together, as of one above, where moving the weights in each step takes as long as so many tokens. A CPU
# without AMX takes twice as long. No more rounds than this are worth their time.
_ROUNDS_BUDGET = {"cpu": 1.3e13, "cuda": 1.3e15}
_TOKENS_PER_STEP = 200
_MOST_ROUNDS = 4
# Below it, one of two models is left out: what it would add is not worth its size.
_LEAST_SHARE = 0.1
_SHARE_STEPS = 200
# Tokens, padding included, that a CPU trains on at once: no slower than whole batches, and of long texts an eighth of
# what has to be kept for the gradients.
_MOST_TOKENS = 1024
# A job of a preset begins no further round that would end later than this, in seconds: ten minutes with what follows.
_ROUNDS_SECONDS = 420.0


class TextEncoder(nn.Module):
    """Token ids, int64 [batch, length] padded with `pad_id` → scores, float32 [batch, labels].

    The mean of the last layer's vectors over the tokens that are no padding, then a linear layer. The mask comes from
    the padding, so that ids are all that the model takes.
    """

    def __init__(self, source: Source, body: nn.Module, pad_id: int, labels: int) -> None:
        super().__init__()
        self.body = body.eval()
        self.pad_id = pad_id
        example = torch.full((2, 8), pad_id + 1, dtype=torch.int64)
        self.head = Head(width(source, self.features, example), labels)

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Scores before softmax."""
        scores: torch.Tensor = self.head(self.features(token_ids))
        return scores

    def features(self, token_ids: torch.Tensor) -> torch.Tensor:
        """float32 [batch, width]."""
        if torch.is_grad_enabled() or torch.jit.is_tracing():
            return self._mean(token_ids)
        # Texts of like length together: else all would be computed as long as the longest.
        order = (token_ids != self.pad_id).sum(dim=1).argsort(stable=True)
        parts = [self._mean(trimmed(token_ids[rows], self.pad_id)) for rows in order.split(32)]
        return torch.cat(parts)[order.argsort()]

    def _mean(self, token_ids: torch.Tensor) -> torch.Tensor:
        present = token_ids != self.pad_id
        vectors = self.body(input_ids=token_ids, attention_mask=present.long()).last_hidden_state
        weights = present.unsqueeze(2).to(vectors.dtype)
        mean: torch.Tensor = (vectors * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1)
        return mean


class Together(nn.Module):
    """A mean probability of a network from scratch and an encoder that read the same texts by their own tokenizers;
    `share` is how much the encoder counts in it.

    Token ids, int64 [batch, 2, length]: the first's and the second's → scores, float32 [batch, labels].
    """

    def __init__(
        self, scratch: nn.Module, encoder: nn.Module, pad_id: int, multi_label: bool = False, share: float = 0.5
    ) -> None:
        super().__init__()
        self.multi_label = multi_label
        self.share = share
        self.scratch = scratch
        self.encoder = encoder
        self.pad_id = pad_id

    def forward(self, token_ids: torch.Tensor) -> torch.Tensor:
        """Scores of the mean probability."""
        scratch = self.scratch(trimmed(token_ids[:, 0], 0))
        encoder = self.encoder(trimmed(token_ids[:, 1], self.pad_id))
        ours, theirs = (probabilities(scores, self.multi_label) for scores in (scratch, encoder))
        return scores_of((1 - self.share) * ours + self.share * theirs, self.multi_label)


def trimmed(token_ids: torch.Tensor, pad_id: int) -> torch.Tensor:
    """Without the columns that are padding in every row, in steps of 16; exportable."""
    longest = (token_ids != pad_id).sum(dim=1).max().clamp(min=1)
    return token_ids[:, : torch.div(longest + 15, 16, rounding_mode="floor") * 16]


@dataclass
class Learned:
    """An encoder that has learned, and what it reads with.

    `validation`: the probabilities, float32 [rows, labels], by which it answered the validation rows; where it
    `learned_all`, from them too in the end, those by which it answered them before.
    """

    network: TextEncoder
    reader: TokenReader
    source: Source
    max_chars: int
    validation: np.ndarray
    learned_all: bool


def train_on_encoder(run: Run, from_scratch: Callable[[Run], TrainedText]) -> TrainedText:
    """Train as the parameter `encoder` says; `from_scratch` trains without one. Raises JobError.

    With "auto", a network from scratch learns too, and the validation rows decide: the encoder, that network, or both.
    """
    params = run.params
    assert isinstance(params, TextParams)
    labels = training_labels(run.preparation)
    if params.encoder != "auto":
        learned = _learn(run, find_encoder(run, params.encoder), labels, within_budget=False)
        note = f"Starts from the pretrained encoder {learned.source.name}."
        return _alone(run, learned, labels, note)
    try:
        source = find_encoder(run, "auto")
    except JobError as error:
        run.log(f"There is no starter encoder here: the network learns from scratch alone. {error.evidence}", "warning")
        run.choose(encoder="none")
        return from_scratch(run)
    threads = torch.get_num_threads()
    first = Stage(run, "scratch", 0.0, 0.4)
    scratch = from_scratch(first)
    # The small networks are fastest on one thread; the encoder is not.
    torch.set_num_threads(threads)
    learned = _learn(Stage(run, "", 0.4, 1.0, first), source, labels, within_budget=True)
    return _best_of(run, scratch, learned, labels)


def _best_of(run: Run, scratch: TrainedText, learned: Learned, labels: list[str]) -> TrainedText:
    """What the validation rows prefer: the encoder, the network from scratch, or a mean of both. By log loss: which of
    them is right more often on some hundred rows is a matter of chance."""
    encoder: nn.Module = learned.network
    share, answers, multi_label = 0.5, learned.validation, run.multi_label
    note = f"The encoder {learned.source.name} and a network from scratch answer together."
    ours = scratch.held_out("validation")
    # Folds whose models are to answer together have to be alike.
    if ours and len(answers) and run.preparation is run:
        truth = scratch.evaluation["validation"].labels
        # Each as sure as it may be: the mean of one that is too sure and one that is not would follow the first.
        temperature = fit_temperature(truth, answers).value
        theirs, encoder = tempered(answers, temperature, multi_label), Tempered(encoder, temperature)
        share = fit_share(ours.probabilities, theirs, truth)
        answers = (1 - share) * ours.probabilities + share * theirs
        alone = f"from scratch {said_of(truth, ours.probabilities)}, {learned.source.name} {said_of(truth, theirs)}"
        together = f"together {said_of(truth, answers)}, the encoder counting {share:.0%}"
        note = f"On the validation rows: {alone}; {together}."
    winner = "scratch" if share < _LEAST_SHARE else "encoder" if share > 1 - _LEAST_SHARE else "both"
    run.choose(encoder="none" if winner == "scratch" else learned.source.name, answers=winner)
    note += {"scratch": " The encoder is left out.", "encoder": " It answers alone."}.get(winner, "")
    if winner == "scratch":
        run.log(note)
        scratch.run, scratch.notes = run, [*scratch.notes, note]
        return scratch
    if winner == "encoder":
        run.log(note)
        return _alone(run, learned, labels, note)
    run.choose(encoder_share=share)
    run.log(note)
    network = Together(scratch.model, encoder, learned.reader.pad_id, multi_label, share)
    before = answers if learned.learned_all else None
    max_chars = max(scratch.max_chars, learned.max_chars)
    return _trained(run, network, labels, [*scratch.readers, learned.reader], before, note, max_chars)


def fit_share(ours: np.ndarray, theirs: np.ndarray, truth: np.ndarray) -> float:
    """How much `theirs` counts in a mean of two models' probabilities, each float [rows, labels]: lowest log loss, by
    expectation maximisation. truth: int64 [rows], -1 for what neither knows, or uint8 [rows, labels] of several.

    Few rows say little: the share is drawn towards a half as if one row more had been answered well by each alone.
    """
    if truth.ndim == 2:
        right = [np.where(truth, scores, 1 - scores).ravel() for scores in (ours, theirs)]
    else:
        known = known_rows(truth)
        right = [scores[known, truth[known]] for scores in (ours, theirs)]
    first, second = (np.clip(chances.astype(np.float64), 1e-12, 1) for chances in right)
    share = 0.5
    for _ in range(_SHARE_STEPS):
        due = share * second / ((1 - share) * first + share * second)
        share = float((due.sum() + 1) / (len(due) + 2))
    return round(share, 4)


def _alone(run: Run, learned: Learned, labels: list[str], note: str) -> TrainedText:
    before = learned.validation if learned.learned_all else None
    return _trained(run, learned.network, labels, [learned.reader], before, note, learned.max_chars)


def _trained(
    run: Run,
    network: nn.Module,
    labels: list[str],
    readers: list[TokenReader],
    before: np.ndarray | None,
    note: str,
    max_chars: int,
) -> TrainedText:
    """`before`: where some of the model has learned from the validation rows, the probabilities of before that."""
    evaluation: dict[str, Examples] = {}
    for split in ("validation", "test", "train"):
        if split != "train" or not any(map(len, evaluation.values())):
            evaluation[split] = TextExamples(run, split, readers, labels, max_chars)
    trained = TrainedText(run, network.to(run.device), labels, evaluation, readers, max_chars, before)
    trained.notes = [note, *trained.notes]
    return trained


# --- One encoder ---


def _learn(run: Run, source: Source, labels: list[str], *, within_budget: bool) -> Learned:
    """Fine-tune an encoder, or train a layer on top of it."""
    params = run.params
    assert isinstance(params, TextParams)
    run.progress(0.0, "Loading the encoder")
    torch.manual_seed(run.seed)
    body = load_body(source, "text")
    tokenizer, pad_id = load_tokenizer(source)
    network = TextEncoder(source, body, pad_id, len(labels))
    most = [params.max_tokens, positions(body)]
    reader = TokenReader(tokenizer, min(most if "max_tokens" in run.train.parameters else [*most, _LONGEST]), pad_id)
    train = _read(run, "train", reader, labels)
    course = Course(params.epochs or _COURSES[0][0], reader.max_tokens, len(train))
    if within_budget:
        course = plan(run, params, train.lengths, _computed_weights(body), reader.max_tokens)
    if course.max_tokens < reader.max_tokens:
        reader.max_tokens = course.max_tokens
        train = _read(run, "train", reader, labels)
    if train.cut:
        run.log(f"{train.cut:,} of {len(train):,} texts have {reader.max_tokens} tokens or more; the rest is not read.")
    validation = _read(run, "validation", reader, labels)
    before: np.ndarray | None = None
    if params.encoder_training == "frozen":
        run.log(f"Learning {len(labels)} classes from what {source.name} makes of {len(train):,} texts.")
        train_head(run, network, network.head, train, validation)
    else:
        if course.rows < len(train):
            train = train.kept(sample(train.labels, course.rows, run.seed))
        before = _fine_tune(run, params, network, train, validation, course, source.name, within_budget=within_budget)
    prepare_export(body)
    answers = predict(network, validation, run.device) if before is None else before
    return Learned(network, reader, source, reader.max_tokens * _CHARS_PER_TOKEN, answers, before is not None)


def _read(run: Run, split: str, reader: TokenReader, labels: list[str]) -> TextExamples:
    reader.special_tokens = True
    reader.tokenizer.enable_truncation(reader.max_tokens)
    return TextExamples(run, split, [reader], labels, reader.max_tokens * _CHARS_PER_TOKEN)


def _fine_tune(
    run: Run,
    params: TextParams,
    network: TextEncoder,
    train: TextExamples,
    validation: TextExamples,
    course: "Course",
    name: str,
    *,
    within_budget: bool,
) -> np.ndarray | None:
    """Where it learned from the validation rows, too, the probabilities by which it answered them before; else None."""
    # The preset's batch size is that of the small networks.
    batch_size = run.train.parameters.get("batch_size") or encoder_batch(len(train))
    steps_per_epoch = math.ceil(len(train) / batch_size)
    # Few examples: more rounds, or there would be too few steps to learn anything.
    epochs = params.epochs or min(20, max(course.epochs, math.ceil(_LEAST_STEPS / steps_per_epoch)))
    rate = params.encoder_learning_rate or _RATE
    settings = Settings.of(
        params,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=rate,
        warmup=0.1,
        precision=training_precision(run, params),
        **ENCODER_SETTINGS,
    )
    run.choose(encoder_epochs=epochs, encoder_batch_size=batch_size, encoder_max_tokens=course.max_tokens)
    run.log(
        f"Fine-tuning {name} on {len(train):,} texts of up to {course.max_tokens} tokens, "
        f"{epochs} epochs in batches of {batch_size}."
    )
    freeze_embeddings(network.body)

    count, seconds = params.encoder_rounds or 1, math.inf
    if within_budget:
        tokens = epochs * int(np.minimum(train.lengths, course.max_tokens).sum())
        count = rounds(run, params, _computed_weights(network.body), tokens, epochs * steps_per_epoch)
        seconds = math.inf if params.encoder_rounds else _ROUNDS_SECONDS
    if run.device.type == "cpu":
        train.most_tokens = _MOST_TOKENS
    learns_all = count > 1 and may_learn_all(run, params, validation)
    every, nothing = (train.joined(validation), validation.kept(np.arange(0))) if learns_all else (train, validation)
    first: list[np.ndarray] = []

    def once(stage: Run, number: int) -> None:
        groups = layer_groups(network.body, network.head, decay=params.encoder_layer_decay)
        if number == 0:
            fit(stage, network, train, validation, settings, groups)
            first.append(predict(network, validation, run.device))
        else:
            fit(stage, network, every, nothing, settings, groups)

    def losses(network: nn.Module) -> np.ndarray:
        return row_losses(judged(network, validation, run.device, settings), validation.labels)

    train_soup(run, network, once, losses if len(validation) else None, count, seconds)
    return first[0] if learns_all and run.chosen["encoder_rounds"] > 1 else None


def _computed_weights(body: nn.Module) -> int:
    """Weights that each token is multiplied by: all but those that are looked up."""
    return sum(parameter.numel() for name, parameter in body.named_parameters() if "embed" not in name)


class Course(NamedTuple):
    """How often, how far and how many of the texts an encoder reads."""

    epochs: int
    max_tokens: int
    rows: int


def plan(run: Run, params: TextParams, lengths: np.ndarray, weights: int, longest: int) -> Course:
    """The course that a preset's time allows. It follows from the data alone: a resumed job makes the same one."""
    budget, cost = _BUDGET[run.device.type] / weights, 0.0
    for epochs, max_tokens in _COURSES:
        epochs, max_tokens = params.epochs or epochs, min(max_tokens, longest)
        cost = epochs * float(np.minimum(lengths, max_tokens).sum())
        if cost <= budget:
            return Course(epochs, max_tokens, len(lengths))
    rows = int(len(lengths) * budget / cost)
    run.log(f"The encoder learns from {rows:,} of {len(lengths):,} texts: more would take too long on this device.")
    return Course(epochs, max_tokens, rows)


def rounds(run: Run, params: TextParams, weights: int, tokens: int, steps: int) -> int:
    """How many rounds of so many tokens and steps a preset's time allows, by the data alone as well.

    Trials are to be compared, and folds' models answer together anyway: one is enough there.
    """
    if params.encoder_rounds or params.tune or params.folds:
        return params.encoder_rounds or 1
    slower = 2 if run.device.type == "cpu" and training_precision(run, params) != "bf16" else 1
    cost = slower * weights * (tokens + _TOKENS_PER_STEP * steps)
    return max(1, min(_MOST_ROUNDS, int(_ROUNDS_BUDGET[run.device.type] / cost)))


def sample(labels: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """So many rows, drawn at random, but of each class (of several labels, each set) at least a few; sorted."""
    if labels.ndim == 2:
        labels = np.unique(labels, axis=0, return_inverse=True)[1].ravel()
    order = np.random.default_rng([seed, 77]).permutation(len(labels))
    place = np.empty(len(order), dtype=np.int64)
    for label in np.unique(labels):
        own = np.flatnonzero(labels[order] == label)
        place[own] = np.arange(len(own))
    return np.sort(order[np.argsort(place >= _LEAST_OF_A_CLASS, kind="stable")][:rows])
