"""Trains the toy models again from a seed: `python -m pipeline.toy.training [names]`.

One file a kind of model, each a `Task` (a network, a loss on the training faces, a measure on held-out ones, and how to export); `loop` runs
any of them and can be killed and started again: the state lies in `runs/toy/<name>/`, and the same command goes on from it. With more
`--steps` a finished model trains on.
"""
