"""What columns are called and what they mean: the mapping of roles (text, label, user, …) to columns."""

import re
from collections.abc import Callable, Sequence

from workers.contracts.errors import JobError
from workers.contracts.kinds import KINDS, DatasetKind
from workers.ingest import cells
from workers.ingest.normal_forms import normal
from workers.ingest.records import Table, printable

# Usual names of a role, best first; compared without case, spaces, "_", "-" and a closing "id".
_NAMES: dict[str, tuple[str, ...]] = {
    "text": (
        *("text", "sentence", "question", "review", "reviewtext", "message", "content", "body", "comment", "tweet"),
        *("utterance", "query", "document", "description", "title", "headline", "input", "sms", "文本", "内容", "评论"),
    ),
    "label": (
        *("label", "class", "category", "target", "sentiment", "intent", "topic", "type", "tag", "genre", "stars"),
        *("rating", "score", "polarity", "emotion", "answer", "output", "y", "标签", "类别", "分类"),
        *("labels", "tags", "categories", "genres", "classes", "topics", "emotions"),
    ),
    "user": (
        "user",
        "uid",
        "username",
        "customer",
        "member",
        "account",
        "visitor",
        "reviewer",
        "client",
        "session",
        "用户",
    ),
    "item": (
        *(
            "item",
            "iid",
            "product",
            "movie",
            "artist",
            "song",
            "track",
            "book",
            "isbn",
            "asin",
            "article",
            "sku",
            "game",
        ),
        *("business", "video", "recipe", "restaurant", "news", "url", "place", "venue", "anime", "商品", "物品"),
    ),
    "rating": ("rating", "score", "stars", "ratingscore", "weight", "count", "plays", "playcount", "quantity", "评分"),
    "timestamp": (
        *("timestamp", "time", "date", "datetime", "ts", "at", "createdat", "created", "unixtime", "reviewtime"),
        *("unixreviewtime", "eventtime", "purchasedat", "orderdate", "时间"),
    ),
    "split": ("split", "set", "subset", "fold", "partition", "usage"),
}
# Names of two columns that hold pairs of texts; one of them alone says nothing.
_PAIRS = (
    *(("text", "textpair"), ("sentence1", "sentence2"), ("question1", "question2"), ("text1", "text2")),
    *(("premise", "hypothesis"), ("texta", "textb"), ("sentencea", "sentenceb")),
)
_CHECKS: dict[str, Callable[[str], object]] = {
    "rating": cells.rating,
    "timestamp": cells.timestamp,
    "split": cells.split,
}
# Texts have at least so many words on average; a table of more columns than these without a text is a table of values.
_TEXT_WORDS, _TEXT_COLUMNS = 3, 3
# So few different values are labels rather than items.
_FEW_ITEMS = _FEW_LABELS = 20
# A guessed column must read as what it is taken for in this share of the first rows.
_SHARE = 0.9


# What a table's numbers look like beside plain ones: $1,234.50 or 12 %.
_MONEY = re.compile(r"[$€£¥]? ?[+-]?\d{1,3}(,?\d{3})*(\.\d+)? ?[$€£¥%]?", re.ASCII)


def clean_header(names: Sequence[str]) -> list[str]:
    """Names trimmed, printable, in NFC, each once: an empty one becomes column_3, a second `text` text_2."""
    cleaned: list[str] = []
    taken: set[str] = set()
    for place, raw in enumerate(names, 1):
        base = cells.name(printable(raw).replace("\ufeff", "")) or f"column_{place}"
        unique, number = base, 2
        while unique in taken:
            unique, number = f"{base}_{number}", number + 1
        taken.add(unique)
        cleaned.append(unique)
    return cleaned


def is_usual(name: str) -> bool:
    """Whether columns are often called so."""
    return any(plain(name) in usual for usual in _NAMES.values())


def is_number(text: str) -> bool:
    """Whether a cell is a plain number."""
    return cells.rating(text) is not None


def resolve(kind: DatasetKind, columns: list[str], head: list[list[str]], wanted: dict[str, str]) -> dict[str, str]:
    """The mapping to use: what the user chose, the rest guessed. Raises JobError column_missing."""
    evidence = "Columns in the file: " + ", ".join(columns[:50])
    roles = (*KINDS[kind].needed, *KINDS[kind].optional)
    chosen: dict[str, str] = {}
    options = {name: wanted[name] for name in KINDS[kind].options if wanted.get(name)}
    for role, asked in wanted.items():
        if not asked or role in options:
            continue
        if role not in roles:
            message = f'There is no role "{role[:40]}"; the roles are {", ".join(roles)}.'
            raise JobError("column_missing", message, evidence=evidence)
        column = find(asked, columns)
        if column is None:
            raise JobError("column_missing", f'There is no column "{asked[:80]}" for the {role}.', evidence=evidence)
        chosen[role] = column
    mapping = {**guess(kind, columns, head, chosen), **chosen}
    # Said to be nothing is said, too.
    for role in KINDS[kind].optional:
        if wanted.get(role) == "":
            mapping.pop(role, None)
    for role in KINDS[kind].needed:
        if role not in mapping:
            raise JobError("column_missing", f"Which column holds the {role} cannot be told.", evidence=evidence)
    if len(set(mapping.values())) < len(mapping):
        raise JobError("column_missing", "One column is chosen for two roles.", evidence=evidence)
    return {role: mapping[role] for role in roles if role in mapping} | options


def roles(mapping: dict[str, str]) -> dict[str, str]:
    """A mapping without its options: role → column."""
    options = {name for kind in KINDS.values() for name in kind.options}
    return {role: column for role, column in mapping.items() if role not in options}


def find(asked: str, columns: list[str]) -> str | None:
    """The column of this name, without regard to case and separators where none is spelt the same."""
    for form in (cells.name, plain):
        for column in columns:
            if form(column) == form(asked):
                return column
    return None


def guess(
    kind: DatasetKind, columns: list[str], head: list[list[str]], chosen: dict[str, str] | None = None
) -> dict[str, str]:
    """Roles by the columns' names, then by their content; a role that cannot be told is left out."""
    mapping: dict[str, str] = dict(chosen or {})
    if kind == "text":
        _guess_pair(mapping, columns)
    for role in (*KINDS[kind].needed, *KINDS[kind].optional):
        if role in mapping or role not in _NAMES:
            continue
        # Columns that are mostly empty come last, whatever they are called.
        for column in sorted(named(role, columns), key=lambda name: _is_empty(_cells(columns, head, name))):
            if column not in mapping.values() and _fits(role, _cells(columns, head, column)):
                mapping[role] = column
                break
    if kind == "text":
        _guess_text(mapping, columns, head)
    if kind == "tabular" and "label" not in mapping:
        _guess_label(mapping, columns, head)
    if kind == "recommendation" and not {"user", "item"} & mapping.keys() and _are_unnamed(columns):
        # Files without a header (MovieLens): user, item, rating, time is the order that everybody uses.
        for role, column in zip(("user", "item", "rating", "timestamp"), columns, strict=False):
            if role not in mapping and _fits(role, _cells(columns, head, column)):
                mapping[role] = column
    return mapping


def _guess_pair(mapping: dict[str, str], columns: list[str]) -> None:
    """Two columns that are named as pairs are, where none of them is chosen for something else."""
    found = {plain(column): column for column in reversed(columns)}
    for names in _PAIRS:
        pair = {role: found.get(name) for role, name in zip(("text", "text_pair"), names, strict=True)}
        if all(column and mapping.get(role, column) == column for role, column in pair.items()):
            others = {column for role, column in mapping.items() if role not in pair}
            if not others & set(pair.values()):
                mapping.update({role: column for role, column in pair.items() if column})
                return


def _guess_text(mapping: dict[str, str], columns: list[str], head: list[list[str]]) -> None:
    """The column with the longest cells is the text; the free one with the fewest different cells the label."""
    free = [column for column in columns if column not in mapping.values()]
    contents = {column: [cell for cell in _cells(columns, head, column) if cell] for column in free}
    free = [column for column in free if contents[column]]
    several = {column: len(set(cells)) for column, cells in contents.items() if len(set(cells)) > 1}
    if "text" not in mapping and free:
        longest = max(free, key=lambda column: sum(map(len, contents[column])) / len(contents[column]))
        if not all(is_number(cell) for cell in contents[longest]):
            mapping["text"] = longest
            free.remove(longest)
    if "label" not in mapping and (left := [column for column in free if column in several]):
        fewest = min(left, key=lambda column: several[column])
        if several[fewest] <= max(2, len(contents[fewest]) // 2):
            mapping["label"] = fewest


def _guess_label(mapping: dict[str, str], columns: list[str], head: list[list[str]]) -> None:
    """The last column of few values, or else whose cells repeat, as tables are usually written."""
    repeating: dict[str, int] = {}
    for column in reversed(columns):
        present = [cell for cell in _cells(columns, head, column) if cell]
        if column not in mapping.values() and 1 < len(set(present)) <= max(2, len(present) // 2):
            repeating[column] = len(set(present))
    if repeating:
        few = (column for column, values in repeating.items() if values <= _FEW_LABELS)
        mapping["label"] = next(few, next(iter(repeating)))


def plain(name: str) -> str:
    """A name as names are compared: without case, spaces, "_", "-", "." and a closing "id"."""
    bare = re.sub(r"[\s_\-.]+", "", normal("NFKC", name).casefold())
    return bare[:-2] if len(bare) > 3 and bare.endswith("id") and bare not in ("asid",) else bare


def named(role: str, columns: list[str]) -> list[str]:
    """The columns whose names are usual for a role, the best first."""
    whole = {column: plain(column) for column in columns}
    # Of a nested field ("review.body") the whole path may tell, or its end.
    ends = {column: plain(column.rpartition(".")[2]) for column in columns}
    return [column for known in (whole, ends) for name in _NAMES[role] for column in columns if known[column] == name]


def _cells(columns: list[str], head: list[list[str]], column: str) -> list[str]:
    place = columns.index(column)
    return [fields[place] for fields in head]


def cells_of(table: Table, column: str | None) -> list[str]:
    """The first cells of a column; none where there is no such column."""
    return _cells(table.columns, table.head, column) if column else []


def _is_empty(values: list[str]) -> bool:
    return 2 * sum(not value.strip() for value in values) > len(values)


def _fits(role: str, values: list[str]) -> bool:
    check = _CHECKS.get(role)
    if check is None or not values:
        return True
    return sum(check(value) is not None for value in values) >= _SHARE * len(values)


def kind_of(columns: list[str], head: list[list[str]]) -> DatasetKind:
    """The kind of dataset that a table most likely is."""
    interactions = guess("recommendation", columns, head)
    if {"user", "item"} <= interactions.keys() and (not _are_unnamed(columns) or _are_pairs(columns, head)):
        return "recommendation"
    # A text is several words in most rows; a table has several columns and no text.
    worded = [column for column in columns if _words(_cells(columns, head, column)) >= _TEXT_WORDS]
    return "tabular" if len(columns) > _TEXT_COLUMNS and not worded and head else "text"


def _are_unnamed(columns: list[str]) -> bool:
    """Whether no column has a name of its own; the first alone has none where rows are numbered."""
    return all(column == f"column_{place}" for place, column in enumerate(columns, 1))


def _are_pairs(columns: list[str], head: list[list[str]]) -> bool:
    """Whether the first two columns of a table without a header hold users and items: ids, not texts and their labels.

    Numbers do; so do single words before a number (a rating), or of which the first come again and the second are many.
    """
    users, items, *others = (_cells(columns, head, column) for column in columns)
    if any(not is_number(cell) and " " in cell.strip() for cell in (*users, *items)):
        return False
    numbers = all(map(is_number, (*users, *items)))
    rated = bool(others) and all(map(is_number, others[0]))
    return numbers or rated or (len(set(users)) < len(users) and len(set(items)) > _FEW_ITEMS)


def _words(values: list[str]) -> float:
    present = [value for value in values if value.strip()]
    return sum(len(value.split()) for value in present) / len(present) if present else 0.0


def type_of(values: list[str]) -> str:
    """A column's type as the preview shows it: integer, number, time or text."""
    present = [value.strip() for value in values if value.strip()]
    if not present:
        return "text"
    if all(re.fullmatch(r"[+-]?\d{1,18}", value, re.ASCII) for value in present):
        return "integer"
    if all(is_number(value) or _MONEY.fullmatch(value) for value in present):
        return "number"
    return "time" if all(cells.timestamp(value) is not None for value in present) else "text"
