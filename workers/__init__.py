"""Everything heavy: ingest, training, serving. Never imports Django or the control plane."""
