"""Static files: which files of the npm packages are served, and under which names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.contrib.staticfiles.finders import BaseFinder
from django.contrib.staticfiles.utils import matches_patterns
from django.core.files.storage import FileSystemStorage
from whitenoise.compress import Compressor
from whitenoise.storage import CompressedManifestStaticFilesStorage

from slipway.env import ROOT

PACKAGES = ROOT / "node_modules"
# Served as /static/vendor/<folder>/<file>. Only what pages ask for: the packages hold thousands of other files.
VENDOR_FILES: dict[str, list[str]] = {
    "htmx": ["htmx.org/dist/htmx.min.js"],
    "htmx-sse": ["htmx-ext-sse/dist/sse.min.js"],
    "alpine": ["@alpinejs/csp/dist/cdn.min.js"],
    "tabler/css": ["@tabler/core/dist/css/tabler.min.css", "@tabler/core/dist/css/tabler-vendors.min.css"],
    "tabler/js": ["@tabler/core/dist/js/tabler.min.js"],
    "echarts": ["echarts/dist/echarts.min.js"],
    "tus": ["tus-js-client/dist/tus.min.js"],
    "inter": [
        f"@fontsource-variable/inter/files/inter-{script}-wght-normal.woff2"
        for script in ("latin", "latin-ext", "cyrillic", "cyrillic-ext", "greek", "greek-ext", "vietnamese")
    ],
    "swagger-ui": [
        f"swagger-ui-dist/{name}"
        for name in ("swagger-ui.css", "swagger-ui-bundle.js", "swagger-ui-standalone-preset.js")
    ],
}


class PackageFinder(BaseFinder):
    """Finds the VENDOR_FILES in node_modules, as npm delivered them: there is no bundler."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.files = {
            f"vendor/{folder}/{Path(file).name}": PACKAGES / file
            for folder, files in VENDOR_FILES.items()
            for file in files
        }

    def find(self, path: str, find_all: bool = False, **kwargs: Any) -> Any:
        """The file behind a static path, in a list where all are wanted; [] where there is none."""
        found = self.files.get(path.replace("\\", "/"))
        if found is None or not found.exists():
            return []
        return [str(found)] if find_all else str(found)

    def list(self, ignore_patterns: Any) -> Iterator[tuple[str, FileSystemStorage]]:
        """(name, storage) of each file; the storage's prefix is the folder to serve it from."""
        for path, file in self.files.items():
            if not matches_patterns(path, ignore_patterns):
                storage = FileSystemStorage(location=file.parent)
                storage.prefix = str(Path(path).parent)  # type: ignore[attr-defined]
                yield file.name, storage


class StaticStorage(CompressedManifestStaticFilesStorage):
    """Names that change with the content, so that browsers keep the files for a year; gzip beside each.

    A file that was not collected (in tests) is served under its own name.
    """

    # Only our own style sheets are rewritten, so that the font they name is the one that pages preload. References
    # inside other files keep the plain names, which stay beside the hashed ones: a source map that is not served
    # breaks nothing.
    patterns = (("css/*.css", (r"""(?P<matched>url\("(?P<url>[^"]+)"\))""",)),)

    def create_compressor(self, **kwargs: Any) -> Compressor:
        """gzip alone: Brotli takes minutes for what it saves, and a proxy in front can do it."""
        return Compressor(use_brotli=False, **kwargs)

    def stored_name(self, name: str) -> str:
        """The name under which `name` is served."""
        found: str = self.hashed_files.get(self.hash_key(self.clean_name(name)), name)
        return found
