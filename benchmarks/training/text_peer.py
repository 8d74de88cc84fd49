"""One text classifier that a user would take, in an environment without Slipway: CSV file in, a line of JSON out.

python text_peer.py FILE.csv words|characters|fasttext SEED

The file has the columns text, label and split (train, test). All train rows are learned from.
"""

import csv
import json
import sys
import tempfile
import time
from pathlib import Path


def words(texts, labels, asked, seed):
    """TF-IDF of words and pairs of words, logistic regression, defaults."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    return _regression(TfidfVectorizer(ngram_range=(1, 2)), 1.0, texts, labels, asked)


def characters(texts, labels, asked, seed):
    """TF-IDF of words, pairs of words and two to five characters, logistic regression with C = 10."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_union

    of_words = TfidfVectorizer(ngram_range=(1, 2))
    of_characters = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5))
    return _regression(make_union(of_words, of_characters), 10.0, texts, labels, asked)


def fasttext(texts, labels, asked, seed):
    """fastText: learning rate 0.5, 25 epochs, pairs of words, 50 dimensions."""
    import fasttext as library

    names = sorted(set(labels))
    number = {name: place for place, name in enumerate(names)}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.txt"
        lines = (f"__label__{number[label]} {_line(text)}" for text, label in zip(texts, labels, strict=True))
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        settings = {"lr": 0.5, "epoch": 25, "wordNgrams": 2, "dim": 50, "thread": 2, "seed": seed, "verbose": 0}
        model = library.train_supervised(str(file), **settings)
    # Not model.predict: it fails with NumPy 2.
    answers = [model.f.predict(_line(text) + "\n", 1, 0.0, "strict") for text in asked]
    return [names[int(answer[0][1].removeprefix("__label__"))] if answer else names[0] for answer in answers]


def _line(text):
    return " ".join(text.lower().split())


def _regression(vectorizer, strength, texts, labels, asked):
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=strength, max_iter=1000).fit(vectorizer.fit_transform(texts), labels)
    return model.predict(vectorizer.transform(asked))


PEERS = {"words": words, "characters": characters, "fasttext": fasttext}


def main():
    """Train, answer the test rows, print accuracy and seconds."""
    csv.field_size_limit(sys.maxsize)
    with open(sys.argv[1], encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    train = [row for row in rows if row["split"] != "test"]
    test = [row for row in rows if row["split"] == "test"]
    wall, cpu = time.monotonic(), time.process_time()
    answers = PEERS[sys.argv[2]](
        [row["text"] for row in train], [row["label"] for row in train], [row["text"] for row in test], int(sys.argv[3])
    )
    right = sum(answer == row["label"] for answer, row in zip(answers, test, strict=True))
    seconds = {"wall": round(time.monotonic() - wall, 2), "cpu": round(time.process_time() - cpu, 2)}
    print(json.dumps({"accuracy": right / len(test), **seconds}))


if __name__ == "__main__":
    main()
