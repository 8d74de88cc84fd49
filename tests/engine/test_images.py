"""Images in training: variants, mixtures, mirroring, pixels on disk, and the network's answers."""

import io
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet
import pytest
import torch
from PIL import Image

from tests.engine.jobs import kill_when, make_job, make_spec, run
from tests.engine.test_template_contract import toy_job
from workers.contracts.errors import JobError
from workers.contracts.jobdir import JobDir
from workers.engine import augment
from workers.engine.augment import Augmentation
from workers.engine.image import ImageExamples
from workers.engine.image_network import ImageNetwork
from workers.engine.mirroring import survives_mirroring
from workers.engine.pixels import decode
from workers.engine.run import Run
from workers.inference.image import decode_image
from workers.task_templates import TEMPLATES

EVERYTHING = Augmentation(color=0.3, distort=0.9, erase=0.5, mixup=0.5, cutmix=0.5)
Picture = Callable[[np.random.Generator, int], np.ndarray]


def chance(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(count: int = 32, size: int = 24) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=chance(7))


def test_variants_are_images_of_the_same_shape_and_follow_the_generator() -> None:
    images = noise()
    before = images.clone()
    varied = EVERYTHING.vary(images, chance(1))
    assert varied.shape == images.shape and varied.dtype == torch.uint8
    assert torch.equal(images, before)
    assert torch.equal(varied, EVERYTHING.vary(images, chance(1)))
    assert not torch.equal(varied, EVERYTHING.vary(images, chance(2)))
    assert all(not torch.equal(new, old) for new, old in zip(varied, images, strict=True))


def test_what_is_switched_off_changes_nothing() -> None:
    images = noise()
    assert torch.equal(Augmentation(flip=False, shift=0).vary(images, chance()), images)
    assert not Augmentation().mixes and EVERYTHING.mixes


def test_every_distortion_is_weakest_in_the_middle() -> None:
    # A photo-like picture: smooth, of full contrast.
    ramp = torch.linspace(0, 255, 32)
    image = torch.stack([ramp.expand(32, 32), ramp.expand(32, 32).T, ramp.flip(0).expand(32, 32)], dim=2).to(
        torch.uint8
    )
    for operation in augment._OPERATIONS:
        for strength in (-1.0, 1.0):
            changed = operation(image[None], torch.tensor([strength]), chance())
            assert changed.shape == (1, 32, 32, 3) and changed.dtype == torch.uint8
            assert changed.float().std() > 5, f"{operation.__name__} leaves nothing to see"


@pytest.mark.parametrize("mix", [augment.cutmix, augment.mixup])
def test_labels_are_shared_as_pixels_are(mix: Callable[..., tuple[torch.Tensor, torch.Tensor]]) -> None:
    brightness = torch.tensor([0, 255] * 16)
    images = brightness.to(torch.uint8)[:, None, None, None].expand(32, 16, 16, 3)
    targets = torch.nn.functional.one_hot((brightness > 0).long(), 2).float()
    mixed, shares = mix(images, targets, chance(3))
    assert torch.allclose(shares.sum(dim=1), torch.ones(32))
    assert torch.allclose(mixed.float().mean(dim=(1, 2, 3)) / 255, shares[:, 1], atol=0.01)
    assert ((shares[:, 1] > 0.05) & (shares[:, 1] < 0.95)).any()


def blob(source: np.random.Generator, label: int) -> np.ndarray:
    """Colour is the class: left and right do not matter."""
    image = source.integers(60, 180, (24, 24, 3), dtype=np.uint8)
    top, left = source.integers(0, 12, 2)
    image[top : top + 12, left : left + 12, label] = 255
    return image


def arrow(source: np.random.Generator, label: int) -> np.ndarray:
    """Lighter to the right, lighter to the left, or lighter below."""
    ramp = np.tile(np.linspace(0, 200, 24), (24, 1))
    image = [ramp, ramp[:, ::-1], ramp.T][label][..., None] + source.integers(0, 55, (24, 24, 3))
    return image.astype(np.uint8)


@pytest.mark.parametrize(("picture", "count", "expected"), [(blob, 300, True), (arrow, 300, False), (arrow, 60, True)])
def test_images_are_mirrored_unless_left_and_right_matter(picture: Picture, count: int, expected: bool) -> None:
    source = np.random.default_rng(0)
    labels = source.integers(0, 3, count)
    images = np.stack([picture(source, int(label)) for label in labels])
    assert survives_mirroring(images, labels, seed=1) is expected


@pytest.mark.parametrize("size", [16, 32, 48, 96, 256])
def test_the_network_takes_every_size_and_can_answer_for_the_mirror_image_too(size: int) -> None:
    torch.manual_seed(0)
    network = ImageNetwork(3, size, torch.full((3,), 0.5), torch.full((3,), 0.2), width=8)
    network.mirror = True
    images = noise(2, size)
    network.train()
    assert network(images).shape == (2, 3)
    network.eval()
    with torch.no_grad():
        straight, mirrored = (torch.softmax(network(shown), dim=1) for shown in (images, images.flip(2)))
    assert torch.allclose(straight, mirrored, atol=1e-6) and torch.allclose(straight.sum(dim=1), torch.ones(2))


def test_pixels_on_disk_are_those_of_the_served_path(tmp_path: Path) -> None:
    template = TEMPLATES["image-classification"]
    spec = make_spec(template.key, seed=3)
    job_dir = JobDir.create(tmp_path / "job", spec)
    files = []
    for number, shape in enumerate([(30, 50, 3), (7, 3, 3), (40, 40), (400, 90, 3)] * 100):
        stream = io.BytesIO()
        pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(pixels).save(stream, "JPEG" if number % 2 else "PNG")
        files.append(stream.getvalue())
    splits = ["train" if number % 3 else "test" for number in range(len(files))]
    names = [f"{number}" for number in range(len(files))]
    table = {"split": splits, "image": files, "name": names, "label": names}
    pyarrow.parquet.write_table(pyarrow.table(table), job_dir.inputs / "data.parquet", row_group_size=70)
    ours = [data for data, split in zip(files, splits, strict=True) if split == "train"]
    examples = ImageExamples(Run(job_dir, spec, template.resolve("fast", {})), "train", names, 32)
    wanted = np.array([len(ours) - 1, 0, 130, 0])
    expected = np.stack([decode_image(ours[row], (32, 32)) for row in wanted])
    assert np.array_equal(examples.read(wanted), expected)


def test_images_that_do_not_fit_on_the_disk_are_not_begun_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = toy_job("image-classification", tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _folder: SimpleNamespace(free=100_000))
    whole = Run(job, job.spec(), TEMPLATES["image-classification"].resolve("fast", {}))
    with pytest.raises(JobError) as caught:
        decode(whole, 32)
    assert caught.value.code == "disk_full" and not list(whole.cache.iterdir())


def test_a_job_decodes_its_images_once_for_all_trials_folds_and_attempts(tmp_path: Path) -> None:
    job = make_job(tmp_path, "image-classification", epochs=1, tune={"trials": 2}, folds=2)
    told = kill_when(job, lambda event: event["type"] == "trial" and event["number"] == 2)
    run(job)
    decoded = [place for place, event in enumerate(job.events) if "Decoding" in event.get("phase", "")]
    assert decoded and max(decoded) < told
    assert {job.events[place]["phase"].partition(":")[0] for place in decoded} == {"Trial 1 of 2"}


def test_a_job_with_every_variant_and_mirrored_answers_is_certified(tmp_path: Path) -> None:
    shares = {"distort": 0.5, "erase": 0.5, "mixup": 0.3, "cutmix": 0.3, "mirror_answers": True, "ema": 0.1}
    job = run(toy_job("image-classification", tmp_path / "job", epochs=6, **shares))
    assert job.result["certificate"]["passed"] and job.result["metrics"]["test"]["accuracy"] > 0.7
