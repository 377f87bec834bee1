"""One question a file, frame in and numbers out. From the ground up; each may import what stands above it here:

resampling/   what is drawn or exchanged, intervals read from it, and many p at once
association/  how a measure goes with a target over runs
grid/         what the hyperparameters have to do with it; beside it files of questions of their own: selection,
              redundancy, stability, invariance, reparameterization
beside/       published numbers, papers' tables and other studies beside ours
"""
