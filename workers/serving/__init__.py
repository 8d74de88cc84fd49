"""The hosted prediction API: one small ASGI process that knows Redis and the artifact store, no database."""
