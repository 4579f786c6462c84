"""Toom-Cook's convolution along the first axis of space (Winograd's minimal filters, arXiv:1509.09308).

Four outputs of three taps are six products, not twelve:

    y [4] = A ((G kernel [3]) * (B x [6]))

for the products of the values at six points of two polynomials are those of their product. Each of the six is a
convolution along the other axes. The points are 0, 2/3, -2/3, 3/2, -3/2 and infinity: float32 then errs 2.4 times as
much as the sum itself, and not 3.6 times as with 1 and 2 for 2/3 and 3/2 (root mean square, random numbers).
"""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array


def toom_cook(points: Sequence[float], outputs: int, taps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(A [outputs, n], G [n, taps], B [n, n]) for points and infinity; n = outputs + taps - 1."""
    a = np.array(points)
    gap = a[:, None] - a + np.eye(len(a))
    last = lambda size: np.eye(size)[-1:]  # noqa: E731  the leading coefficient: the value at infinity
    A = np.concatenate([a[:, None] ** np.arange(outputs), last(outputs)]).T
    G = np.concatenate([a[:, None] ** np.arange(taps) / gap.prod(1, keepdims=True), last(taps)])
    through = [np.append(np.poly(np.delete(a, i))[::-1], 0) for i in range(len(a))]
    return A, G, np.array([*through, np.poly(a)[::-1]])


A, G, B = (np.where(abs(matrix) > 1e-9, matrix, 0) for matrix in toom_cook((0.0, 2 / 3, -2 / 3, 3 / 2, -3 / 2), 4, 3))


def by_six(x: Array, kernel: Array, along: Callable[[Array, Array], Array]) -> Array:
    """The convolution: x [4 n + 2, *others, c] -> [4 n, *others, d].

    `along` convolves [6, n, *others, c] with kernels [6, *taps, c, d] of the other axes, each with its own.
    """
    taps = jnp.tensordot(jnp.asarray(G, x.dtype), kernel, 1)
    y = jnp.stack(_sums(A, list(along(points_of(x), taps))), 1)
    return y.reshape(-1, *y.shape[2:])


def points_of(x: Array) -> Array:
    """B x for all outputs: [4 n + 2, *others] -> [6, n, *others]."""
    return mixed(B, [x[i : i + len(x) - 5 : 4] for i in range(6)])


def _sums(matrix: np.ndarray, arrays: Sequence[Array]) -> list[Array]:
    return [sum(float(w) * array for w, array in zip(row, arrays, strict=True) if w) for row in matrix]


def mixed(matrix: np.ndarray, arrays: Sequence[Array]) -> Array:
    """[n, ...]: the sums of the arrays with the weights in each of the n rows of the matrix."""
    sums = _sums(matrix, arrays)
    return jnp.stack(jax.lax.optimization_barrier(sums))  # each made once, and by itself: one code of them all is slow


def blocks(shape: tuple[int, ...], numbers: int) -> tuple[int, Callable[[Array, Array, int], Array]]:
    """Blocks of 4 n rows along the first axis of space, of at most so many numbers, that the caches hold them.

    How many an array [b, 4 m, *others, c] has, and block(array, i, more), the i-th, with `more` rows behind it, of that
    array or of another [b, 4 m + more, *others, d].
    """
    images, height, *others = shape
    sizes = [n for n in range(4, height + 1, 4) if height % n == 0]
    rows = max(n for n in sizes if n == 4 or n * math.prod(others) <= numbers)
    each = height // rows

    def block(array: Array, i: Array, more: int) -> Array:
        size = (1, rows + more, *array.shape[2:])
        return jax.lax.dynamic_slice(array, (i // each, i % each * rows, *(0 for _ in others)), size)

    return images * each, block
