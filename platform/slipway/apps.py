"""Django's app registry entries of the project itself."""

from django.apps import AppConfig


class SlipwayConfig(AppConfig):
    """The project as an app: its system checks and management commands."""

    name = "slipway"

    def ready(self) -> None:
        """Register the system checks."""
        from slipway import checks  # noqa: F401
