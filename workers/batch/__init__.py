"""Batch prediction: every row of a file answered by a model, in order, bad rows too.

`python -m workers.batch JOBDIR` runs it. It reads with the readers of workers.ingest and answers with the bundle as an
endpoint would serve it.
"""
