"""How a measure goes with a target: rank correlations and Pearson's r over runs, with intervals, differences and tests.

Imports resampling.
"""
