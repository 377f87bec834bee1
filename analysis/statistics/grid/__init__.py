"""What the hyperparameters of a grid have to do with it: along one axis, within a setting, over environments.

Imports resampling and association.
"""
