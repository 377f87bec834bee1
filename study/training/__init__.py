"""How a population of networks moves: the loop, the stack, and the seams that a study may change.

    start.py        what a run starts from, by its config
    checkpoint.py   a run's files while it trains
    population.py   the loop: epochs, stops, retiring, growing
    step.py         one step, through the seams in their order
    forward.py      a stack of networks as a function (stack.py: their tensors; dropout.py, noise.py: what they draw)

    objective.py  update.py (around optimizer.py)  schedule.py  batch.py  mask.py  growth.py    a registry each

A method is one entry in one of the latter, registered by its decorator, and its case in
tests/study/training/test_seams.py.
The loop calls whatever the config names; it asks for no name. No registry imports torch: a study is checked without it.
"""
