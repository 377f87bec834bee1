"""wandb as a mirror: offline runs written from finished files, and their upload. Nothing here is read back."""
