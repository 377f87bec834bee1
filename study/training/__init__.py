"""How a population of networks moves: the loop, the stack, and the seams that a study may change."""
