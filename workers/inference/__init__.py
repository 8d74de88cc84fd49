"""Bundle → predictor. `runtime` is one self-contained file, because every bundle ships it as predict.py."""
