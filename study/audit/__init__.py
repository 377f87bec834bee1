"""The invariance audit: each measure of a trained network before and after every change that leaves its function."""
