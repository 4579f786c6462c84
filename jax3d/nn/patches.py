"""Images and volumes with patches as channels: space to depth, on all axes of space alike."""

from jaxtyping import Array, Float


def fold(x: Float[Array, "b *space c"], p: int) -> Float[Array, "b *space2 c2"]:
    """[b, r, ..., r, c] -> [b, r/p, ..., r/p, p^d c] for d axes of space; p divides their lengths."""
    b, *space, c = x.shape
    cells = x.reshape(b, *(n for size in space for n in (size // p, p)), c)
    order = [0, *range(1, cells.ndim - 1, 2), *range(2, cells.ndim - 1, 2), cells.ndim - 1]
    return cells.transpose(order).reshape(b, *(size // p for size in space), -1)


def unfold(x: Float[Array, "b *space c"], p: int) -> Float[Array, "b *space2 c2"]:
    """The inverse of `fold`."""
    b, *space, c = x.shape
    d = len(space)
    cells = x.reshape(b, *space, *(p,) * d, c // p**d)
    order = [0, *(axis for k in range(1, d + 1) for axis in (k, k + d)), 2 * d + 1]
    return cells.transpose(order).reshape(b, *(size * p for size in space), -1)
