"""Names of the losses and update rules, free of torch so that configs can be checked in milliseconds."""

LOSSES = ("cross_entropy", "squared_error")
OPTIMIZERS = ("sgd", "adam")
