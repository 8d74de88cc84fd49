"""How files are to be read, as far as somebody says so."""

from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest
from pydantic import ValidationError

from workers.contracts.errors import UserError
from workers.contracts.job import FileOptions

NAMES = frozenset(FileOptions.model_fields)


def file_options(said: Mapping[str, Any]) -> FileOptions:
    """The options among some values, by their names; a blank one is not said. Raises UserError `invalid`."""
    try:
        return FileOptions.model_validate({name: said[name] for name in NAMES if said.get(name) not in (None, "")})
    except ValidationError as error:
        fields = [{"field": str(one["loc"][0]), "message": one["msg"]} for one in error.errors()]
        raise UserError("invalid", fields=fields) from None


def taken(fields: dict[str, Any]) -> FileOptions:
    """Take the options out of the fields of a request. Raises UserError `invalid`."""
    return file_options({name: fields.pop(name, None) for name in NAMES})


def asked_on_page(request: HttpRequest) -> FileOptions:
    """What a page that shows the first rows was told: as it stands in its form, or by `names`, the line that names the
    columns (or "none" of them does), and `sheet`. Raises UserError `invalid`."""
    if request.method == "POST":
        return file_options(request.POST)
    names, sheet = request.GET.get("names", ""), request.GET.get("sheet", "")
    said = {"header": "false"} if names == "none" else {"header": names and "true", "first_line": names}
    return file_options({**said, "sheet": sheet})


def choices(found: dict[str, Any], options: FileOptions) -> dict[str, Any]:
    """For the page, what of a preview can be read otherwise: the lines that may name the columns, the sheets, and
    hidden values by which an import reads the file as it is shown."""
    said = options.header is not None
    named = found["first_line"] if found["header"] else None
    lines = [
        {**one, "value": one["line"] if said or one["line"] != named else "", "chosen": one["line"] == named}
        for one in found["top"]
    ]
    shown = options.model_copy(update={"header": found["header"]})
    return {
        "lines": lines,
        "none": "none" if said or found["header"] else "",
        "above": sum(one["line"] < found["first_line"] for one in lines) if found["first_line"] else 0,
        "sheets": found["sheets"] if len(found["sheets"]) > 1 else [],
        "sheet": found["sheet"],
        "hidden": {
            name: str(value).lower() if name == "header" else value for name, value in shown if value not in (None, "")
        },
    }
