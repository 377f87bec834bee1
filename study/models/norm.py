"""What the norm layers of several architectures have in common."""

from study.choice import Option

# Share of a batch in the running statistics, as torch has it; 0 would leave them at their start, which fits nothing.
MOMENTUM = Option(0.1, "allowed: 0 < number <= 1", lambda v: 0 < v <= 1, stacked=False)
