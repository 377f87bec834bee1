"""Losses: what each adds up to, its factor of the Hessian by the outputs, its weights of samples, checks of targets."""
