"""How static files are stored: under names that change with their content, so that browsers keep them for a year."""

from whitenoise.storage import CompressedManifestStaticFilesStorage


class StaticStorage(CompressedManifestStaticFilesStorage):
    """Hashed and compressed files; a file that was not collected (in tests) is served under its own name."""

    # References inside files keep the plain names, which stay beside the hashed ones: nothing is rewritten, so a
    # source map that was left out breaks nothing.
    patterns = ()

    def stored_name(self, name: str) -> str:
        """The name under which `name` is served."""
        found: str = self.hashed_files.get(self.hash_key(self.clean_name(name)), name)
        return found
