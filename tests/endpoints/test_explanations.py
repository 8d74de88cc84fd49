"""What the playground makes of an explanation."""

from typing import Any

import pytest
from django.template.loader import render_to_string

from apps.endpoints.explanations import shown


def rendered(prediction: dict[str, Any], value: Any) -> str:
    return " ".join(render_to_string("endpoints/_explanation.html", {"explained": shown(prediction, value)}).split())


def words(text: str, **weights: float) -> dict[str, Any]:
    found = [
        {"text": word, "start": text.index(word), "end": text.index(word) + len(word), "weight": weight}
        for word, weight in weights.items()
    ]
    return {"explanation": {"method": "occlusion", "label": "good", "words": found}}


def test_without_an_explanation_there_is_nothing_to_show() -> None:
    assert shown({"label": "good"}, "text") is None


def test_the_whole_text_is_shown_in_order_and_only_felt_words_are_marked() -> None:
    text = "so  <b>fine</b> but slow!"
    found = shown(words(text, so=0.01, fine=2.0, but=-0.4, slow=-1.9), text)
    assert found is not None
    (pieces,) = found["texts"]
    assert "".join(piece.text for piece in pieces) == text
    level = {piece.text: (piece.level, piece.side) for piece in pieces}
    assert level["fine"] == (4, "for") and level["slow"] == (4, "against") and level["so"][0] == 0
    assert [reason.name for reason in found["reasons"]] == ["fine", "slow", "but"]
    page = rendered(words(text, so=0.01, fine=2.0, but=-0.4, slow=-1.9), text)
    assert "&lt;b&gt;" in page and "<b>" not in page
    assert 'class="against-4"' in page and "−1.90" in page and "+2.00" in page


def test_both_texts_of_a_pair_are_shown_by_one_measure() -> None:
    pair = {"text": "is it so", "text_pair": "so it is"}
    prediction = words(pair["text"], so=1.0)
    first = prediction["explanation"]["words"][0] | {"input": "text"}
    prediction["explanation"]["words"] = [
        first,
        {"text": "is", "start": 6, "end": 8, "weight": 2.0, "input": "text_pair"},
    ]
    found = shown(prediction, pair)
    assert found is not None
    assert ["".join(piece.text for piece in pieces) for pieces in found["texts"]] == list(pair.values())
    assert [[piece.text for piece in pieces if piece.level] for pieces in found["texts"]] == [["so"], ["is"]]
    assert [max(piece.level for piece in pieces) for pieces in found["texts"]] == [2, 4]


def test_where_nothing_decides_nothing_stands_out() -> None:
    page = rendered(words("so fine", so=0.001, fine=-0.002), "so fine")
    assert "<mark" not in page and "No single part decides" in page


def test_a_heat_map_has_a_cell_per_weight_the_hottest_fullest() -> None:
    heat = {"method": "occlusion", "label": "cat", "grid": [2, 2], "weights": [[0.0, -1.0], [2.0, 0.1]]}
    found = shown({"explanation": heat}, {"image": ""})
    assert found is not None
    cells = {(cell.x, cell.y): (float(cell.strength), cell.side) for cell in found["cells"]}
    assert cells[0, 1] == (0.75, "for") and cells[1, 0] == (0.375, "against") and cells[0, 0][0] == 0.0
    assert rendered({"explanation": heat}, "").count("<rect") == 4


@pytest.mark.parametrize("known", [True, False])
def test_recommendations_name_what_led_to_them(known: bool) -> None:
    because = [{"item": "<i>Dune</i>", "weight": 0.5}] if known else []
    items = [{"item": "Solaris", "because": because}]
    page = rendered({"items": [], "explanation": {"method": "leave-one-out", "items": items}}, {"user": "u"})
    assert ("&lt;i&gt;Dune&lt;/i&gt;" in page and "Solaris" in page) == known
    assert ("Nothing is known" in page) != known


def test_columns_of_a_row_are_listed_by_weight() -> None:
    columns = [{"column": "age", "weight": -0.5}, {"column": "city", "weight": 1.5}, {"column": "id", "weight": 0.0}]
    found = shown({"explanation": {"method": "occlusion", "label": "yes", "columns": columns}}, {})
    assert found is not None
    assert [(reason.name, reason.side) for reason in found["reasons"]] == [("city", "for"), ("age", "against")]
