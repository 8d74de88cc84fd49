"""Fixtures that several tests of faults share."""

from tests.runner.conftest import bench
from tests.serving.conftest import bundle_folder

__all__ = ["bench", "bundle_folder"]
