"""Bundle → predictor: small modules that the hosted endpoint imports and that every bundle holds as predict.py."""
