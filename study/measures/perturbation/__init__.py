"""Weights that are moved: by noise of a size that is searched for, up the gradient, along rays; and put back."""
