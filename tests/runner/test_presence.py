"""What a runner says it computes on, without loading torch."""

from pathlib import Path

import pytest

from workers.runner.presence import find_devices


def _smi(folder: Path, output: str, code: int = 0) -> None:
    script = folder / "nvidia-smi"
    script.write_text(f"#!/bin/sh\nprintf '{output}'\necho \"$@\" > {folder}/asked\nexit {code}\n")
    script.chmod(0o755)


@pytest.mark.parametrize(
    ("visible", "output", "label"),
    [
        (None, "NVIDIA H200\\n", "cuda: NVIDIA H200"),
        ("0", "NVIDIA H200\\n", "cuda: NVIDIA H200"),
        (None, "NVIDIA H200\\nNVIDIA H200\\n", "cuda: NVIDIA H200 × 2"),
    ],
)
def test_a_gpu_is_called_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None, output: str, label: str
) -> None:
    _smi(tmp_path, output)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert find_devices() == (label, output.count("NVIDIA"))


def test_only_the_gpus_of_this_runner_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _smi(tmp_path, "NVIDIA H200\\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    find_devices()
    assert "--id=3" in (tmp_path / "asked").read_text()


@pytest.mark.parametrize("visible", ["", None])
def test_without_a_gpu_the_cores_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, visible: str | None
) -> None:
    _smi(tmp_path, "No devices were found\\n", code=6)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    found = find_devices()
    assert found.label.startswith(f"cpu ({found.number} core")
