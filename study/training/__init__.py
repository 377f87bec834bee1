"""How a population of networks moves: the loop and the stack. What a study may change in it are the entries of seams/.

    start.py        what a run starts from, by its config
    trainable.py    whether a network can be trained at all, before anything is written
    checkpoint.py   a run while it trains: its start, its curve, its end
    saved.py        the state of a population: one file for all its networks (background.py: written beside training)
    population.py   the loop: epochs, stops, retiring, refilling, growing
    capacity.py     how many networks fit into the memory at once
    steps.py        the batches of an epoch; graph.py: a step as a GPU replays it
    step.py         one step, through the seams in their order
    forward.py      a stack of networks as a function (stack.py: their tensors; dropout.py: what they drop)
    chain.py        layers one after another by hand (products.py: each layer and its derivative)

The loop calls whatever the config names; it asks for no name.
"""
