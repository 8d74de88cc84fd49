"""Tell a text file's encoding: marks first, then UTF-8, then GB18030 and the Latin ones by how their bytes lie.

charset-normalizer is asked last: on short files it takes German for Cyrillic, so a vote of own rules goes before it.
"""

import codecs
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from workers.contracts.errors import JobError

_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_CHUNK = 1 << 20
_SAMPLE = 1 << 18
# So many control characters may stray into a text, or 2 %, before it counts as binary.
_STRAY = 8
# charset-normalizer's view counts from this many non-ASCII bytes on.
_ENOUGH = 400
_OTHERS = frozenset(
    {"big5", "shift_jis", "cp932", "euc_jp", "euc_kr", "cp949", "cp1250", "cp1251", "koi8_r", "iso8859_2", "iso8859_5"}
)
_HIGH = re.compile(rb"[\x80-\xff]+")
# Undefined in cp1252, so a file that has them is plain Latin-1.
_NOT_CP1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_CONTROLS = bytes(set(range(32)) - set(b"\t\n\r\x0c\x1a\x1b"))


def detect(source: Path | bytes) -> str:
    """The Python codec of a file, or of a head's bytes. Raises JobError encoding_unknown for what is no text."""
    head = source if isinstance(source, bytes) else _head(source)
    for bom, name in _BOMS:
        if head.startswith(bom):
            return name
    if wide := _utf16_without_bom(head):
        return wide
    if len(head) - len(head.translate(None, _CONTROLS)) > max(_STRAY, len(head) // 50):
        raise JobError("encoding_unknown", "The file is not text: it holds many control characters.")
    return "utf-8" if _is_utf8(source) else _legacy(_telling_sample(source))


def _head(path: Path) -> bytes:
    with open(path, "rb") as stream:
        return stream.read(_SAMPLE)


def _utf16_without_bom(head: bytes) -> str | None:
    """UTF-16 without a mark: read as such, it has about as many commas and line ends as its bytes seem to have."""
    if b"\0" not in head:
        return None
    raw = head.count(b"\n") + head.count(b",") + head.count(b"\t") + head.count(b";")
    for name in ("utf-16-le", "utf-16-be"):
        text = head[: len(head) // 2 * 2].decode(name, "replace")
        found = text.count("\n") + text.count(",") + text.count("\t") + text.count(";")
        if found and found * 2 >= raw:
            return name
    if head.count(0) > max(_STRAY, len(head) // 50):
        raise JobError("encoding_unknown", "The file is not text: it holds many zero bytes.")
    return None


def _is_utf8(source: Path | bytes) -> bool:
    """Whether the text is UTF-8, a few damaged characters aside (those rows will be rejected by name)."""
    if _is_valid(source):
        return True
    good = bad = 0
    for piece in _pieces(source):
        text = codecs.getincrementaldecoder("utf-8")("replace").decode(piece)
        # A file may hold the sign itself, in good UTF-8.
        broken = text.count("\ufffd") - piece.count(b"\xef\xbf\xbd") if "\ufffd" in text else 0
        bad += broken
        good += 0 if text.isascii() else len(text) - len(text.encode("ascii", "ignore")) - broken
    return bad == 0 or good > bad * 2


def _is_valid(source: Path | bytes) -> bool:
    if isinstance(source, bytes):
        with suppress(UnicodeDecodeError):
            source.decode()
            return True
        return False
    # A look at a head gets along without it; of a whole file it takes half the time.
    import polars as pl

    with suppress(pl.exceptions.PolarsError):
        for piece in _pieces(source):
            if not piece.isascii():
                pl.Series([piece], dtype=pl.Binary).cast(pl.String)
        return True
    return False


def _pieces(source: Path | bytes) -> Iterator[bytes]:
    """The bytes in pieces of about a megabyte that end with a line where there are lines."""
    if isinstance(source, bytes):
        yield source
        return
    with open(source, "rb") as stream:
        rest = b""
        while chunk := stream.read(_CHUNK):
            block = rest + chunk
            end = block.rfind(b"\n") + 1 or len(block)
            yield block[:end]
            rest = block[end:]
        if rest:
            yield rest


def _telling_sample(source: Path | bytes) -> bytes:
    """The lines that hold non-ASCII bytes, up to a quarter of a megabyte: all that tells legacy encodings apart."""
    taken: list[bytes] = []
    size = 0
    for piece in _pieces(source):
        if piece.isascii():
            continue
        for line in piece.splitlines(keepends=True):
            if not line.isascii():
                taken.append(line[:4096])
                size += len(taken[-1])
                if size >= _SAMPLE:
                    return b"".join(taken)
    return b"".join(taken)


def _legacy(sample: bytes) -> str:
    if looks_like_gb(sample):
        return "gb18030"
    runs = _HIGH.findall(sample)
    high = sum(len(run) for run in runs)
    if high >= _ENOUGH and (other := _asked(sample)):
        return other
    if high > 2 * len(runs):
        # Whole words of accents are no Latin text; a guess would fill the dataset with nonsense.
        raise JobError("encoding_unknown", evidence=f"First such bytes: {runs[0][:20].hex(' ')}")
    return "latin-1" if _NOT_CP1252.search(sample) else "cp1252"


def looks_like_gb(sample: bytes) -> bool:
    """Whether non-ASCII bytes are Chinese in GB2312, GBK or GB18030: mostly pairs of common characters."""
    runs = _HIGH.findall(sample[: 1 << 16])
    if not runs:
        return False
    pairs = [pair for run in runs for pair in zip(run[0::2], run[1::2], strict=False)]
    common = sum(1 for lead, trail in pairs if trail >= 0xA1 and (0xA1 <= lead <= 0xA3 or 0xB0 <= lead <= 0xD7))
    lonely = sum(1 for run in runs if len(run) == 1)
    # In Latin text accents stand alone between letters; in Chinese they come in even runs.
    return common >= len(pairs) * 0.7 and lonely * 3 <= len(runs)


def _asked(sample: bytes) -> str | None:
    import charset_normalizer

    best = charset_normalizer.from_bytes(sample[: 1 << 15]).best()
    # Without a language behind it (coherence), its guess is a toss-up.
    return best.encoding if best and best.coherence > 0 and best.encoding in _OTHERS else None


def of_head(head: bytes) -> str:
    """An encoding good enough to look at a text's first characters. Raises JobError format_unknown for binary."""
    try:
        return detect(head)
    except JobError as error:
        if len(head) - len(head.translate(None, _CONTROLS)) > max(_STRAY, len(head) // 50):
            raise JobError("format_unknown", evidence=error.message) from None
        # Text of an unknown encoding; Latin-1 reads any byte.
        return "latin-1"
