"""Gradients of each sample by each layer, a chunk at a time, and the Gauss-Newton matrix that is made of them."""
