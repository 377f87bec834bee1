"""Anybody's networks: checkpoints, a function that builds them and data -> a ledger that `python -m analysis` reads.

`file` reads the yaml, `networks` which checkpoints with which hyperparameters, `code` functions from a person's own
file, `restored` the data and the networks; `taking` plans and takes what is missing, `table` writes the rows.
"""
