"""One question a file, frame in and numbers out. Each folder imports those above it here, never below:

resampling/   which runs are drawn, and intervals read from the draws
association/  how a measure goes with a target over runs
grid/         what the hyperparameters have to do with it; and selection, redundancy, stability, invariance, ...
beside/       published numbers, papers' tables and other studies beside ours
"""
