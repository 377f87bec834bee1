"""What a study may change in the training loop: registries, which the config names and the loop in training/ calls.

    objective.py   the loss a network is moved to lower          schedule.py   coefficients over time
    update.py      what is done around an optimizer              mask.py       which weights live
    optimizer.py   how a gradient moves weights                  growth.py     shape between phases
    batch.py       what a step sees                              precision.py  the numbers that a step multiplies in

noise.py is what an entry may draw from.

(What is in the training set is data/extra.py and data/labels.py.) A method is one entry, registered by its decorator,
and its case in tests/study/training/test_seams.py. None imports torch at the top: a study is checked without it.
"""
