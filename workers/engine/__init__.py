"""The training engine: a job folder in, a certified bundle out. Knows nothing of queues, Redis, storage or Django."""
