"""What is drawn: the design of a grid, resamples of its levels, exchanges; intervals read from them, many p at once.

Imports nothing else of statistics.
"""
