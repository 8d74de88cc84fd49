"""Made files to import: short texts in several languages with quotes and line ends, interactions, images.

python benchmarks/ingest/made.py text|interactions|images FILE SIZE (in MB; of images their number)
"""

import csv
import datetime as dt
import io
import random
import sys
import zipfile
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

# Languages with the share of texts that are in them. Where words are written without spaces, between them is nothing.
_WORDS = {
    "en": (
        0.5,
        "the food was great and service a little slow but we will come back again soon price fair room clean staff "
        "very friendly I never received my order please refund it works as described battery died after two days "
        "don't buy this movie is boring acting terrible plot makes no sense loved every minute recommended thanks",
    ),
    "de": (
        0.15,
        "das Essen war gut aber die Bedienung etwas langsam wir kommen gerne wieder schönes Zimmer für den Preis "
        "völlig überteuert nie wieder Größe paßt nicht Lieferung schnell danke würde ich jederzeit weiterempfehlen",
    ),
    "fr": (
        0.15,
        "le repas était délicieux mais le service un peu lent nous reviendrons sûrement très déçu par la qualité ça "
        "ne marche pas livraison rapide je recommande à tous c'est trop cher l'hôtel est bien placé près de la gare",
    ),
    "ru": (
        0.1,
        "очень хороший фильм игра актёров на высоте но сюжет слабый заказ пришёл быстро спасибо качество плохое не "
        "советую больше сюда не приду номер чистый персонал вежливый цена завышена всё понравилось",
    ),
    "zh": (
        0.1,
        "这部 电影 很 好看 服务 太 慢 了 下次 不会 再来 质量 不错 推荐 给 大家 物流 很快 客服 态度 差 房间 干净 价格",
    ),
}
_LABELS = ("positive", "negative", "neutral", "delivery", "price", "quality", "refund", "other")
_PHRASES = 5000
_START = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)


def texts(seed: int = 0) -> Iterator[tuple[str, str]]:
    """(text, label) without end: 20 to 200 characters, one in five with a comma, quotes or a line end in it."""
    draw = random.Random(seed)
    pools = []
    for language, (_, words) in _WORDS.items():
        known, between = words.split(), "" if language == "zh" else " "
        pools.append(([between.join(draw.choices(known, k=draw.randint(3, 7))) for _ in range(_PHRASES)], between))
    shares = [share for share, _ in _WORDS.values()]
    while True:
        for phrases, between in draw.choices(pools, shares, k=1000):
            text = between.join(draw.choices(phrases, k=draw.randint(2, 4)))
            if (odd := draw.random()) < 0.2:
                text = f'{text}, "{phrases[0]}"' if odd < 0.15 else f"{text}\n{phrases[1]}"
            yield f"{text} {draw.randint(1, 9999)}", draw.choice(_LABELS)


def interactions(seed: int = 0) -> Iterator[tuple[str, str, str, str]]:
    """(user, item, rating, timestamp) without end: 500,000 users, 50,000 items, few of them popular."""
    draw = np.random.default_rng(seed)
    users = [f"U{n:013X}" for n in draw.permutation(500_000) * 7919]
    items = [f"B{n:09d}" for n in draw.permutation(50_000) * 6007]
    while True:
        size = 100_000
        who = (draw.beta(1, 3, size) * len(users)).astype(int).tolist()
        what = (draw.beta(0.7, 6, size) * len(items)).astype(int).tolist()
        stars = draw.integers(1, 11, size).tolist()
        times = (1_500_000_000 + draw.integers(0, 200_000_000, size)).tolist()
        for user, item, star, time in zip(who, what, stars, times, strict=True):
            yield users[user], items[item], f"{star / 2:.1f}", str(time)


def table(path: Path, megabytes: float, header: tuple[str, ...], rows: Iterator[tuple[str, ...]]) -> None:
    """Write a CSV file of about so many million bytes."""
    with open(path, "w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(header)
        while stream.tell() < megabytes * 1e6:
            writer.writerows(islice(rows, 20_000))


def images(path: Path, count: float, size: tuple[int, int] = (320, 240)) -> None:
    """Write a zip of so many JPEGs in ten folders of classes, all different."""
    draw = np.random.default_rng(0)
    small = [
        Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
        for _ in range(20)
    ]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for number in range(int(count)):
            picture = small[number % len(small)].copy()
            picture.paste((number >> 16, number >> 8 & 255, number & 255), (10, 10, 60, 60))
            out = io.BytesIO()
            picture.save(out, "JPEG", quality=85)
            archive.writestr(f"class{number % 10}/{number:06}.jpg", out.getvalue())


MAKERS: dict[str, Callable[[Path, float], None]] = {
    "text": lambda path, size: table(path, size, ("text", "label"), texts()),
    "interactions": lambda path, size: table(path, size, ("user", "item", "rating", "timestamp"), interactions()),
    "images": images,
}

if __name__ == "__main__":
    MAKERS[sys.argv[1]](Path(sys.argv[2]), float(sys.argv[3]))
