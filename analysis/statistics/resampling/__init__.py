"""Which runs are drawn: the design of a grid, resamples of its levels, intervals read from them, exchanges, q.

Imports nothing else of statistics.
"""
