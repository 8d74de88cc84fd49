"""Django's app registry entries of the project itself."""

from django.apps import AppConfig
from django.contrib.staticfiles.apps import StaticFilesConfig


class SlipwayConfig(AppConfig):
    """The project as an app: its system checks and management commands."""

    name = "slipway"

    def ready(self) -> None:
        """Register the system checks."""
        from slipway import checks  # noqa: F401


class StaticConfig(StaticFilesConfig):
    """Static files without what browsers never ask for: source maps and the module builds of the npm packages."""

    ignore_patterns = [  # noqa: RUF012 (an instance variable, says the base class)
        *StaticFilesConfig.ignore_patterns,
        "*.map",
        "*.esm.*",
        "*.cjs.*",
        "*.amd.js",
        "*.d.ts",
        "*.gz",
    ]
