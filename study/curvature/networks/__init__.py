"""Networks as they are given: how they are called and batched, their layers found and reached, left as they were."""
