"""Plant near-duplicates among generated texts and tell how long it takes to find them, how many, and how rightly.

python benchmarks/ingest/near_duplicates.py [TEXTS, 100,000 if not given]

Half of the texts are of Latin words, half of Chinese characters, both by Zipf's law; a tenth are copies of others with
one change: another case and punctuation, a word replaced, left out, added or exchanged with the next. Recall is told of
all planted pairs and of those that are similar enough by definition, precision of all pairs that were reported.
"""

import json
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import pyarrow as pa  # noqa: E402

from workers.ingest import near_texts, shingles  # noqa: E402
from workers.ingest.stage import Stage  # noqa: E402

Words = list[str]


def texts(count: int, source: random.Random) -> tuple[list[str], list[tuple[int, int, str]]]:
    """The texts, and the planted pairs: the row of the original, of the copy, and what was changed."""
    letters = "etaoinshrdlucmfwypvbgkjqxz"
    latin = ["".join(source.choices(letters, k=source.randint(2, 10))) for _ in range(30_000)]
    chinese = [chr(0x4E00 + at) for at in source.sample(range(5000), 4000)]
    made: list[str] = []
    planted: list[tuple[int, int, str]] = []
    parts: list[tuple[Words, str]] = []
    for row in range(count):
        if row % 10 == 9:
            origin = source.randrange(row)
            words, space = parts[origin]
            change = source.choice(list(CHANGES))
            parts.append((CHANGES[change](list(words), source), space))
            planted.append((origin, row, change))
        else:
            words, space = (latin, " ") if row % 2 else (chinese, "")
            length = source.randint(10, 60) if space else source.randint(25, 120)
            parts.append(([words[int(len(words) * source.random() ** 3)] for _ in range(length)], space))
        made.append(parts[-1][1].join(parts[-1][0]))
    return made, planted


def _case(words: Words, source: random.Random) -> Words:
    return [words[0].upper() + ",", *words[1:], "!"]


def _replaced(words: Words, source: random.Random) -> Words:
    words[source.randrange(len(words))] = source.choice(words)
    return words


def _left_out(words: Words, source: random.Random) -> Words:
    del words[source.randrange(len(words))]
    return words


def _added(words: Words, source: random.Random) -> Words:
    words.insert(source.randrange(len(words)), source.choice(words))
    return words


def _exchanged(words: Words, source: random.Random) -> Words:
    at = source.randrange(len(words) - 1)
    words[at : at + 2] = reversed(words[at : at + 2])
    return words


CHANGES: dict[str, Callable[[Words, random.Random], Words]] = {
    "case": _case,
    "replaced": _replaced,
    "left out": _left_out,
    "added": _added,
    "exchanged": _exchanged,
}


def similarity(first: str, second: str) -> float:
    """By definition, one pair at a time."""
    sets = []
    for text in (first, second):
        sets.append(set(shingles.shingles(shingles.fold([text]))[1].tolist()))
    return len(sets[0] & sets[1]) / max(1, len(sets[0] | sets[1]))


def measure(count: int) -> dict[str, Any]:
    """Facts of one run."""
    made, planted = texts(count, random.Random(0))
    family = list(range(count))
    for origin, copy, _ in planted:
        family[copy] = family[origin]
    with tempfile.TemporaryDirectory() as folder:
        stage = Stage(Path(folder) / "texts.arrow", pa.schema([("text", pa.string())]))
        stage.add_table(pa.table({"text": made}))
        stage.close()
        before = resource.getrusage(resource.RUSAGE_SELF)
        start = time.monotonic()
        found = near_texts.find(stage.groups, np.ones(count, np.bool_), lambda share: None)
        seconds = time.monotonic() - start
        after = resource.getrusage(resource.RUSAGE_SELF)
    joined = [found[origin] == found[copy] for origin, copy, _ in planted]
    near = [similarity(made[origin], made[copy]) >= near_texts.SIMILAR for origin, copy, _ in planted]
    reported = [(int(first), row) for row, first in enumerate(found) if first != row]
    by_change = {
        name: [did for did, (*_, change) in zip(joined, planted, strict=True) if change == name] for name in CHANGES
    }
    return {
        "texts": count,
        "characters": sum(map(len, made)),
        "seconds": round(seconds, 2),
        "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "peak_rss_MB_grown_by": (after.ru_maxrss - before.ru_maxrss) // 1024,
        "planted": len(planted),
        "recall": round(float(np.mean(joined)), 4),
        "recall_by_change": {name: round(float(np.mean(did)), 3) for name, did in by_change.items()},
        "recall_of_similar": round(
            float(np.mean([did for did, is_near in zip(joined, near, strict=True) if is_near])), 4
        ),
        "reported": len(reported),
        "precision": round(float(np.mean([family[first] == family[row] for first, row in reported])), 4),
    }


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)))
