"""The form that says which column is what."""

from typing import Any

from apps.datasets.forms import ImportForm

COLUMNS = ["message", "category", "when"]


def form(**data: Any) -> ImportForm:
    return ImportForm(data, columns=COLUMNS, kinds=["text", "recommendation"])


def test_only_the_columns_of_the_chosen_kind_count() -> None:
    filled = form(
        name="Tickets",
        kind="text",
        **{"text-text": "message", "text-label": "category", "recommendation-user": "when"},
    )
    assert filled.is_valid()
    assert filled.cleaned_data["mapping"] == {"text": "message", "label": "category"}


def test_a_needed_column_must_be_chosen() -> None:
    filled = form(name="Tickets", kind="text", **{"text-text": "message"})
    assert list(filled.errors) == ["text-label"]


def test_a_column_is_only_one_thing() -> None:
    filled = form(name="Tickets", kind="text", **{"text-text": "message", "text-label": "message"})
    assert list(filled.errors) == ["text-label"]


def test_a_column_that_the_file_does_not_have_is_refused() -> None:
    filled = form(name="Tickets", kind="text", **{"text-text": "body", "text-label": "category"})
    assert "text-text" in filled.errors


def test_an_archive_is_images_and_nothing_else() -> None:
    images = ImportForm({"name": "Photos", "kind": "image"}, columns=["image", "label"], kinds=["image"])
    assert images.is_valid()
    assert images.cleaned_data["mapping"] == {}
    assert not ImportForm({"name": "Photos", "kind": "text"}, columns=["image", "label"], kinds=["image"]).is_valid()


def test_columns_that_cannot_be_looked_at_are_left_to_the_import() -> None:
    """A zip of tables, or a Parquet file too large to look into."""
    unseen = ImportForm({"name": "Tickets", "kind": "text"}, columns=[], kinds=["text", "tabular"])
    assert unseen.is_valid(), unseen.errors
    assert unseen.cleaned_data["mapping"] == {}
    assert not any(part["fields"] for part in unseen.parts())
