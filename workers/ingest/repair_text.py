"""What repairs make of a single text. Each gives back what has nothing to be repaired, character for character."""

import html
import re

from workers.ingest.text_doctor import CHECKS, personal

_FINDS = {check.code: check.find for check in CHECKS}
# What begins that is not for readers, elements and comments, and what ends it.
_HIDING = re.compile(r"<(script|style)\b[^<>]*>|<!--", re.I)
_HIDDEN_UNTIL = {
    "script": re.compile(r"</script\s*>", re.I),
    "style": re.compile(r"</style\s*>", re.I),
    "": re.compile(r"-->"),
}
# Between what these part there is a space to a reader; the others stand within a word or a line.
_PARTING = re.compile(r"</?(?:address|article|blockquote|br|dd|div|dl|dt|figure|footer|form|h[1-6]|header|hr|li|ol|p|"
                      r"pre|section|table|td|th|tr|ul)\b(?:\s[^<>]*)?/?>", re.I)  # fmt: skip
_TAG = re.compile(r"</?[a-zA-Z][\w-]*(?:\s[^<>]*)?/?>")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#x[\da-fA-F]{1,6}|[a-zA-Z]\w{1,30});")
_SPACES = re.compile(r"[ \xa0]{2,}|\xa0")
# Markup may be wrapped in markup: `&amp;lt;b&amp;gt;`.
_ROUNDS = 3


def mend_encoding(text: str) -> str:
    """The text as it was before it was read in the wrong encoding, as far as that can be told.

    Only the encoding is mended (ftfy's other fixes, of quotes and widths, would change what is right).
    """
    if not _FINDS["text_mojibake"](text):
        return text
    # Loading it takes a tenth of what an import needs to start.
    import ftfy

    return ftfy.fix_encoding(text)


def strip_markup(text: str) -> str:
    """The text without tags, with the characters that its entities stand for."""
    rounds = 0
    while rounds < _ROUNDS and _FINDS["text_markup"](text):
        text = _TAG.sub("", _PARTING.sub(" ", _shown(text)))
        text = _ENTITY.sub(lambda found: html.unescape(found[0]), text)
        text = _SPACES.sub(" ", text)
        rounds += 1
    return text.strip() if rounds else text


def _shown(text: str) -> str:
    """The text with a space in the place of each hidden element and comment; what never ends hides nothing.

    The end of a kind is looked for until there is none: one pattern for all would look again from every beginning.
    """
    pieces, end = [], 0
    endless = set[str]()
    for begins in _HIDING.finditer(text):
        what = (begins[1] or "").lower()
        if begins.start() < end or what in endless:
            continue
        if ends := _HIDDEN_UNTIL[what].search(text, begins.end()):
            pieces += [text[end : begins.start()], " "]
            end = ends.end()
        else:
            endless.add(what)
    return "".join([*pieces, text[end:]])


def mask_personal(text: str) -> str:
    """The text with [email], [phone] and [card] in the place of what looks like one."""
    for _ in range(_ROUNDS):
        # What stood beside a number that is masked now may show as one.
        pieces, end = [], 0
        for found in personal(text):
            pieces += [text[end : found.start], f"[{found.what}]"]
            end = found.end
        if not pieces:
            break
        text = "".join([*pieces, text[end:]])
    return text
