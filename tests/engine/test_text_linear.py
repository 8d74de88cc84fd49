"""The linear text model: what it counts, that its solver finds the minimum, that its graph answers as it does."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import scipy.sparse
import torch
from sklearn.linear_model import LogisticRegression
from tokenizers import Tokenizer

from workers.engine.export import export_onnx
from workers.engine.logistic import Logistic, weigh
from workers.engine.text import train_tokenizer
from workers.engine.text_linear import find_ngrams, frequent, inverse_frequencies, tf_idf
from workers.engine.text_ngrams import LinearText, Ngrams, Spelling

TEXTS = ["Der Hund bellt, der Hund!", "東京に行きました。", "a", "the quick brown fox " * 30, "Привет 👋 wörld"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(lambda: iter(TEXTS * 3), 400, True)


def token_ids(tokenizer: Tokenizer, texts: list[str]) -> torch.Tensor:
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    padded = np.zeros((len(ids), max(map(len, ids))), dtype=np.int64)
    for row, numbers in enumerate(ids):
        padded[row, : len(numbers)] = numbers
    return torch.from_numpy(padded)


def known(tokenizer: Tokenizer, tokens: torch.Tensor, most: int = 10_000) -> Ngrams:
    ngrams = Ngrams(tokenizer)
    ngrams.know(frequent([ngrams.of_tokens(tokens)], most), frequent([ngrams.of_characters(tokens)], most))
    return ngrams


def test_of_few_texts_whole_words_are_tokens_though_each_occurs_once() -> None:
    texts = ["the ancient library of Alexandria", "a modern reading room"]
    found = train_tokenizer(lambda: iter(texts), 1000, True)
    assert found.encode("Modern Alexandria").tokens == ["▁modern", "▁alexandria"]
    many = train_tokenizer(lambda: iter([*texts, *["plain words"] * 10_000]), 1000, True)
    assert "▁plain" in many.encode("plain").tokens and "▁alexandria" not in many.encode("Alexandria").tokens


def test_texts_are_spelled_from_their_tokens(tokenizer: Tokenizer) -> None:
    spelled = Spelling(tokenizer)(token_ids(tokenizer, TEXTS))
    for text, row in zip(TEXTS, spelled.tolist(), strict=True):
        letters = "".join(chr(letter) for letter in row if letter)
        normal = tokenizer.normalizer.normalize_str(text)
        assert letters == "".join(normal.split()) and not any(row[len(letters) :])


def test_every_different_ngram_of_a_text_is_counted_once(tokenizer: Tokenizer) -> None:
    tokens = token_ids(tokenizer, TEXTS)
    ngrams = known(tokenizer, tokens)
    found = find_ngrams([ngrams(tokens)], len(ngrams))
    for text, row in enumerate(tokens.tolist()):
        units = [number for number in row if number]
        letters = "".join(tokenizer.normalizer.normalize_str(TEXTS[text]).split())
        of_tokens = {tuple(units[at : at + n]) for n in (1, 2, 3) for at in range(len(units) - n + 1)}
        of_characters = {letters[at : at + n] for n in (2, 3, 4, 5) for at in range(len(letters) - n + 1)}
        # A few of them meet in one place of the table, where one is kept.
        assert 0.9 < found[text].nnz / (len(of_tokens) + len(of_characters)) <= 1
    rows = tf_idf(found, inverse_frequencies(found), ngrams.first_of_characters)
    of_tokens = rows[:, : ngrams.first_of_characters]
    assert np.allclose(of_tokens.multiply(of_tokens).sum(axis=1), 1, atol=1e-5)


def test_of_many_ngrams_the_most_frequent_are_known(tokenizer: Tokenizer) -> None:
    tokens = token_ids(tokenizer, ["common words", "common words again", "rare", *TEXTS])
    ngrams = known(tokenizer, tokens, most=20)
    assert len(ngrams) <= 41
    assert (ngrams(token_ids(tokenizer, ["common words"])) > 0).any()


def test_unknown_ngrams_are_not_taken_for_known_ones(tokenizer: Tokenizer) -> None:
    ngrams = known(tokenizer, token_ids(tokenizer, ["der hund"]))
    assert not ngrams(token_ids(tokenizer, ["東京に行きました。" * 20])).any()


def test_the_graph_answers_as_the_model_alone_and_among_longer_texts(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokens = token_ids(tokenizer, TEXTS)
    ngrams = known(tokenizer, tokens)
    source = np.random.default_rng(0)
    idf = inverse_frequencies(find_ngrams([ngrams(tokens)], len(ngrams)))
    weights = source.normal(size=(len(ngrams), 3)).astype(np.float32)
    model = LinearText(ngrams, idf, weights, np.ones(3, dtype=np.float32)).eval()
    export_onnx(model, torch.ones((2, 16), dtype=torch.int64), "token_ids", {0: "batch", 1: "length"}, tmp_path / "m")
    session = onnxruntime.InferenceSession((tmp_path / "m").read_bytes())
    expected = torch.softmax(model(tokens), dim=1).numpy()
    # The rows that training learns from give the same scores as the model: one and the same features.
    rows = tf_idf(find_ngrams([ngrams(tokens)], len(ngrams)), idf, ngrams.first_of_characters)
    assert np.allclose(model(tokens).numpy(), rows @ weights + 1, atol=1e-4)
    assert np.allclose(session.run(None, {"token_ids": tokens.numpy()})[0], expected, atol=1e-5)
    for row, text in enumerate(TEXTS):
        alone = session.run(None, {"token_ids": token_ids(tokenizer, [text]).numpy()})[0]
        assert np.allclose(alone, expected[row], atol=1e-5)


def test_the_solver_finds_what_scikit_learn_finds() -> None:
    rows = scipy.sparse.random(200, 60, density=0.2, random_state=1, format="csr", dtype=np.float32)
    truth = np.asarray((rows @ np.random.default_rng(2).normal(size=(60, 4))).argmax(axis=1))
    theirs = LogisticRegression(C=3.0, tol=1e-8, max_iter=5000).fit(rows, truth)
    problem = Logistic(rows, truth, np.ones(200, dtype=np.float32), 4)
    said: list[int] = []
    for strength in (1.0, 3.0):
        weights, bias = problem.solve(strength, 300, lambda: said.append(1))
    ours = rows @ weights + bias
    assert said and np.abs(ours - ours.mean(axis=1, keepdims=True) - theirs.decision_function(rows)).max() < 0.15
    assert (ours.argmax(axis=1) == theirs.predict(rows)).mean() > 0.98


def test_the_better_model_weighs_more_and_few_rows_change_little() -> None:
    source = np.random.default_rng(3)
    truth = source.integers(3, size=500)
    good = np.log(np.full((500, 3), 0.1) + 0.7 * np.eye(3)[truth])
    noise = np.log(source.dirichlet(np.ones(3), size=500))
    knowing, guessing = weigh([good, noise], truth, [1.0, 1.0])
    assert knowing > 3 * guessing
    assert weigh([good[:2], noise[:2]], truth[:2], [1.0, 1.0]) == pytest.approx([1.0, 1.0], abs=0.6)
