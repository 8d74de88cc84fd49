"""The runner: takes jobs from the queues, runs each in a child process, and tells what happens.

It has the keys of broker and store, and no database. It trusts its child with nothing: see `child`, `tail`, `outputs`.
"""
