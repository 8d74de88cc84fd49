"""Correcting by keys where rows have several labels, and in the large view of images."""

import io
import json
import zipfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect

from tests.browser import driving


def test_several_labels_are_added_taken_away_and_accepted_by_keys(project: Page, tmp_path: Path) -> None:
    file = tmp_path / "films.csv"
    sets = [["comedy"], ["comedy", "drama"], ["drama"], []]
    lines = [f'film number {n},"{json.dumps(sets[n % 4]).replace(chr(34), chr(34) * 2)}"' for n in range(40)]
    file.write_text("\n".join(["text,label", *lines]) + "\n")
    rows = driving.rows_of(project, file)
    keys = rows.keyboard
    rows.locator("body").press("j")
    keys.press("2")  # comedy, drama
    expect(driving.labels(rows, 0)).to_have_text(["comedy", "drama"])
    expect(rows.locator('[data-row="0"]')).to_be_focused()  # there may be more to add
    keys.press("1")
    expect(driving.labels(rows, 0)).to_have_text(["drama"])
    keys.press("2")
    expect(driving.labels(rows, 0)).to_have_text(["∅"])
    keys.press("u")
    expect(driving.labels(rows, 0)).to_have_text(["drama"])
    expect(rows.get_by_text("1 change", exact=True)).to_be_visible()

    # Of several rows a label goes to all as long as one lacks it, and then away from all.
    for row in (1, 2):
        rows.locator(f'[data-row="{row}"] [data-pick]').check()
    rows.locator("body").press("1")
    expect(driving.labels(rows, 1)).to_have_text(["comedy", "drama"])
    expect(driving.labels(rows, 2)).to_have_text(["comedy", "drama"])

    # What a model says of a row stands beside it.
    said = "(row, labels) => document.querySelector(`[data-row='${row}']`).dataset.suggested = JSON.stringify(labels)"
    rows.evaluate(f"([row, labels]) => ({said})(row, labels)", [3, ["comedy", "war"]])
    rows.locator('[data-row="3"] .row-text').click()
    keys.press("a")
    expect(driving.labels(rows, 3)).to_have_text(["comedy", "war"])
    keys.press("j")
    keys.press("a")  # nothing is suggested here
    expect(rows.get_by_text("3 changes")).to_be_visible()
    rows.get_by_role("button", name="Save as version 2").click()
    rows.wait_for_url("**/datasets/dst_*")
    expect(rows.get_by_text("40 rows are ready")).to_be_visible(timeout=60_000)
    rows.goto(rows.url.partition("?")[0] + "/rows?label=war")
    expect(rows.locator("[data-row]")).to_have_count(1)
    expect(driving.labels(rows, 3)).to_have_text(["comedy", "war"])


def test_images_are_looked_at_in_large_and_labelled_by_keys(project: Page, tmp_path: Path) -> None:
    file = tmp_path / "photos.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for n in range(12):
            picture = io.BytesIO()
            Image.effect_noise((40, 30), 40 + n).save(picture, "PNG")
            archive.writestr(f"{('cat', 'dog')[n % 2]}/{n:02}.png", picture.getvalue())
    rows = driving.rows_of(project, file)
    keys = rows.keyboard
    viewer = rows.get_by_role("dialog", name="Image")
    names = [element.get_attribute("alt") for element in rows.locator("[data-row] img").all()]
    given = [driving.labels(rows, row).text_content() for row in range(4)]
    rows.locator("body").press("j")
    keys.press("Enter")
    expect(viewer).to_be_visible()
    expect(viewer).to_contain_text(str(names[0]))
    keys.press("ArrowRight")
    keys.press("k")
    keys.press("j")
    expect(viewer).to_contain_text(str(names[1]))
    expect(viewer.locator("img")).to_have_js_property("naturalWidth", 40)

    other = {"cat": ("2", "dog"), "dog": ("1", "cat")}[str(given[1])]
    keys.press(other[0])
    expect(viewer).to_contain_text(str(names[2]))  # it goes on by itself, in the large view too
    expect(driving.labels(rows, 1)).to_have_text([other[1]])
    keys.press("u")
    expect(viewer).to_contain_text(str(names[1]))
    expect(viewer.locator(".row-labels .tag")).to_have_text([str(given[1])])
    keys.press(other[0])
    keys.press("Escape")
    expect(viewer).to_be_hidden()
    expect(rows.get_by_text("1 change", exact=True)).to_be_visible()
    rows.get_by_role("button", name="Save as version 2").click()
    rows.wait_for_url("**/datasets/dst_*")
    expect(rows.get_by_text("12 images are ready")).to_be_visible(timeout=60_000)
