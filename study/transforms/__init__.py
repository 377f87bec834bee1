"""Changes of the weights that leave the function as it was."""
