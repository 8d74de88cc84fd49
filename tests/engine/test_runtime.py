"""The served path's own promises: what it refuses, how it reads images, how it cuts texts."""

import ast
import base64
import io

import numpy as np
import pytest
from PIL import Image

from workers.inference.core import InputError
from workers.inference.image import ImageLabels, Scaling, decode_image
from workers.inference.runtime import PREDICTORS
from workers.inference.script import predict_script
from workers.inference.text import TextLabels, clean_text, pad_ids


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def half_red_half_blue() -> Image.Image:
    pixels = np.zeros((40, 40, 3), dtype=np.uint8)
    pixels[:20, :, 0] = 255
    pixels[20:, :, 2] = 255
    return Image.fromarray(pixels)


def test_the_cameras_orientation_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    pixels = decode_image(encoded(half_red_half_blue(), "PNG", exif=exif), (8, 8))
    assert pixels[0, 0].tolist() == [0, 0, 255]


def test_transparent_becomes_white() -> None:
    clear = Image.new("RGBA", (10, 10), (255, 0, 0, 0))
    assert decode_image(encoded(clear, "PNG"), (4, 4)).tolist() == np.full((4, 4, 3), 255).tolist()


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (10, 10), colour) for colour in ("red", "blue")]
    pixels = decode_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), (2, 2))
    assert pixels[0, 0].tolist() == [255, 0, 0]


def test_sixteen_bit_grey_keeps_its_shades() -> None:
    ramp = Image.fromarray((np.arange(256, dtype=np.uint16) * 257).reshape(16, 16))
    assert np.unique(decode_image(encoded(ramp, "PNG"), (16, 16))).size > 200


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"%PDF-1.7", encoded(half_red_half_blue(), "PNG")[:60]])
def test_what_is_no_whole_image_is_refused_with_its_place(data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        decode_image(data, (8, 8), index=4)
    assert caught.value.index == 4 and caught.value.message


def test_other_formats_are_not_even_tried() -> None:
    with pytest.raises(InputError, match="formats JPEG, PNG"):
        decode_image(encoded(half_red_half_blue(), "TIFF"), (8, 8))


@pytest.mark.parametrize(
    ("brand", "told"), [(b"heic", "HEIC"), (b"avif", "AVIF"), (b"isom", "not an image in one of the formats")]
)
def test_photos_of_telephones_are_told_from_films(brand: bytes, told: str) -> None:
    with pytest.raises(InputError, match=told):
        decode_image(b"\0\0\0\x18ftyp" + brand + bytes(8), (8, 8))


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    huge = Image.new("1", (10_000, 6_000))
    with pytest.raises(InputError, match="50,000,000"):
        decode_image(encoded(huge, "PNG"), (8, 8))


def image_labels() -> ImageLabels:
    predictor = ImageLabels.__new__(ImageLabels)
    predictor._size, predictor._scaling = (8, 8), Scaling()
    return predictor


def test_images_come_as_bytes_base64_or_data_urls() -> None:
    data = encoded(half_red_half_blue(), "PNG")
    text = base64.b64encode(data).decode()
    forms = [data, text, {"image": text}, {"image": f"data:image/png;base64,{text}"}]
    first, *others = [image_labels().prepare(form) for form in forms]
    assert all(np.array_equal(first, other) for other in others)


@pytest.mark.parametrize("raw", [{"image": "%%%"}, {"picture": ""}, 5, None, ["x"]])
def test_anything_else_is_no_image(raw: object) -> None:
    with pytest.raises(InputError) as caught:
        image_labels().prepare(raw, 2)
    assert caught.value.index == 2


@pytest.mark.parametrize("raw", ["", " \n", 7, None, {"text": 1}, {"other": "x"}, [["x"]]])
def test_what_is_no_text_is_refused_with_its_place(raw: object) -> None:
    predictor = TextLabels.__new__(TextLabels)
    predictor._max_chars = 100
    with pytest.raises(InputError) as caught:
        predictor.parse({"inputs": ["fine", raw]})
    assert caught.value.index == 1


@pytest.mark.parametrize("body", [{}, {"inputs": "text"}, {"inputs": []}, {"inputs": ["x"], "more": 1}, 3, None])
def test_a_body_without_a_list_of_inputs_is_refused_whole(body: object) -> None:
    predictor = TextLabels.__new__(TextLabels)
    predictor._max_chars = 100
    with pytest.raises(InputError) as caught:
        predictor.parse(body)
    assert caught.value.index is None


def test_half_a_surrogate_pair_is_replaced_and_long_texts_are_cut() -> None:
    assert clean_text("ab\ud83d", 10) == "ab?"
    assert clean_text("abcdef", 3) == "abc"


def test_lengths_go_in_steps_and_never_past_the_limit_of_tokens() -> None:
    assert pad_ids([[1, 2, 3], []], 512).shape == (2, 16)
    assert pad_ids([[1] * 129], 512).shape == (1, 192)
    assert pad_ids([[1] * 9999], 100)[0].sum() == 100


@pytest.mark.parametrize("name", sorted(PREDICTORS))
def test_the_joined_file_says_each_thing_once_and_imports_nothing_of_ours(name: str) -> None:
    tree = ast.parse(predict_script(name))
    imported = [ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    assert imported and not [line for line in imported if "workers" in line]
    names = [node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    names += [target.id for node in tree.body if isinstance(node, ast.Assign) for target in node.targets]
    assert len(names) == len(set(names)) and PREDICTORS[name].__name__ in names


def test_the_joined_file_leaves_out_what_other_models_need() -> None:
    assert "PIL" not in predict_script("text-labels") and "tokenizers" not in predict_script("image-labels")
