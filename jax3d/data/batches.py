"""Batches from arrays in memory, as a pure function of (seed, step): a resumed run sees what an unbroken one would."""

from collections.abc import Callable, Mapping

import numpy as np


def shuffled(arrays: Mapping[str, np.ndarray], batch_size: int, seed: int) -> Callable[[int], dict[str, np.ndarray]]:
    """`batches(step)`: the step's rows of every array, epoch after epoch in a new random order.

    The tail of an epoch that does not fill a batch is left out.
    """
    lengths = {len(array) for array in arrays.values()}
    if len(lengths) != 1:
        raise ValueError(f"all arrays of a data set need one length, got {sorted(lengths)}.")
    (length,) = lengths
    per_epoch = length // batch_size
    if per_epoch == 0:
        raise ValueError(
            f"a batch of {batch_size} needs at least as many examples, got {length}; take a smaller batch."
        )
    order: dict[int, np.ndarray] = {}

    def batches(step: int) -> dict[str, np.ndarray]:
        epoch, index = divmod(step, per_epoch)
        if epoch not in order:
            order.clear()
            order[epoch] = np.random.default_rng([seed, epoch]).permutation(length)
        rows = order[epoch][index * batch_size : (index + 1) * batch_size]
        return {name: array[rows] for name, array in arrays.items()}

    return batches
