"""How a delimited file can be written."""

import csv
from typing import Any, NamedTuple

# MovieLens separates by two colons, which no reader of CSV can: they are read as this character, which no text holds.
DOUBLE_COLON = "::"
UNIT_SEPARATOR = "\x1f"


class Dialect(NamedTuple):
    """`quote` None: quotes are ordinary characters. `escape`: what stands before a quote that is part of a field."""

    delimiter: str
    quote: str | None = '"'
    escape: str | None = None
    # Lines before the header: the "sep=;" that spreadsheets write.
    skip: int = 0

    @property
    def shown(self) -> str:
        """The delimiter as the file has it."""
        return DOUBLE_COLON if self.delimiter == UNIT_SEPARATOR else self.delimiter

    def reader_options(self) -> dict[str, Any]:
        """The options of csv.reader. Strict: a stray quote is an error to report, not a character to lose."""
        return {
            "delimiter": self.delimiter,
            "quotechar": self.quote,
            "escapechar": self.escape,
            "doublequote": self.escape is None,
            "quoting": csv.QUOTE_MINIMAL if self.quote else csv.QUOTE_NONE,
            "strict": True,
        }
