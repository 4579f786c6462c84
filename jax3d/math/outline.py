"""The edges of a triangle mesh under `jit`, each with the third vertices of the two faces beside it, without sorting.

A face (a, b, c) has three sides: ab with the third vertex c, bc with a, ca with b. Sides of the same two vertices
{l, h}, l < h, are one edge. They are brought together by hashing with retries: in round t = 0, 1, ... every side that
has not found its edge yet writes its number, the least one wins, to the slot

    (h G + l (2 t + 1) H  mod 2^32) / 2^(32 - k)    of 2^k slots,    3 f <= 2^k < 6 f for f faces

(Knuth, The Art of Computer Programming, vol. 3, sec. 6.4: G is 2^32 over the golden ratio). A side that reads back a
side of the same two vertices has found the first side of its edge; as all sides of an edge use the same slots they
find it together. In each round every slot in use settles an edge, so the rounds end, with the exact answer, whatever
the mesh. Two edges that share a slot part in the next round, as their distance changes with t; unless they have l in
common, but then G keeps them apart if vertices are numbered without large gaps. About an eighth to a fifth of the edges
of a closed mesh are left to the second round, under 2 in 100 to the third, and a fourth is rare.

The sides of a surface of `marching.march`, which changes its faces at every step, lie in faces of the grid, and a
table of those would pair them too: one more for each grid, and millions of places to look through. This needs memory
and time in proportion to the faces alone, and serves any mesh. The surface of a ball in Kuhn 64, 57,000 faces in room
for 68,000: 10 to 15 ms and 12 MiB on two busy CPU cores, where sorting its sides takes 100 ms.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from jax3d.math.select import true_positions

GOLDEN, OTHER = 0x9E3779B9, 0x85EBCA77  # G, and H: any odd number without a pattern


def edges_of(
    faces: Int[Array, "f 3"], capacity: int
) -> tuple[Int[Array, "{capacity} 2"], Int[Array, "{capacity} 2"], Int[Array, ""]]:
    """The ends of each edge, the lower vertex first, the third vertices of its two faces, and how many edges there are.

    The third vertex of the first face stands there twice where there are not just two faces. Edges come in the order of
    their first faces; those beyond `capacity` are left out, which a larger count says, and unused room is (0, 0) with
    (0, 0): no outline. f faces have at most 3 f edges, closed meshes 3 f / 2. Faces that name a vertex twice, as those
    beyond the last of a `marching.Surface`, count for nothing. Raises ValueError without a face or a capacity.
    """
    if capacity < 1 or not len(faces):
        raise ValueError(
            f"edges need room for one and a face at least, got capacity={capacity} and {len(faces)} faces; "
            "3 edges for each face are always enough, 3/2 for a closed mesh."
        )
    low, high, third, proper = _sides(faces)
    side = jnp.arange(low.shape[0], dtype=jnp.int32)
    first = jnp.where(proper, _first_of_edge(low, high, proper), side.shape[0])
    sides = jnp.zeros(side.shape[0] + 1, jnp.int32).at[first].add(1, mode="promise_in_bounds")[:-1]
    last = jnp.zeros(side.shape[0] + 1, jnp.int32).at[first].max(side, mode="promise_in_bounds")
    place, count = true_positions(jnp.pad(sides > 0, (0, -side.shape[0] % 32)), capacity)
    real = jnp.arange(capacity) < count
    place = jnp.where(real, place, 0)
    other = jnp.where(_take(sides, place) == 2, _take(last, place), place)
    ends = jnp.stack([_take(low, place), _take(high, place)], axis=-1)
    opposite = jnp.stack([_take(third, place), _take(third, other)], axis=-1)
    return jnp.where(real[:, None], ends, 0), jnp.where(real[:, None], opposite, 0), count


def _sides(faces: Int[Array, "f 3"]) -> tuple[Array, Array, Array, Array]:
    """Of the three sides of each face: the lower and the higher vertex, the third, and whether the face is one."""
    ahead = jnp.roll(faces, -1, axis=1)
    proper = jnp.broadcast_to(jnp.all(faces != ahead, axis=1, keepdims=True), faces.shape)
    sides = jnp.minimum(faces, ahead), jnp.maximum(faces, ahead), jnp.roll(faces, 1, axis=1), proper
    low, high, third, proper = (values.reshape(-1) for values in sides)
    return low, high, third, proper


def _first_of_edge(low: Int[Array, " s"], high: Int[Array, " s"], wanted: Bool[Array, " s"]) -> Int[Array, " s"]:
    """For each wanted side the first wanted one of the same two vertices."""
    count = low.shape[0]
    bits = (count - 1).bit_length()
    side = jnp.arange(count, dtype=jnp.int32)

    def settle(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        turn, left, first = state
        mixed = high.astype(jnp.uint32) * jnp.uint32(GOLDEN) + low.astype(jnp.uint32) * (jnp.uint32(OTHER) * turn)
        slot = jnp.where(left, (mixed >> (32 - bits)).astype(jnp.int32), 1 << bits)
        winners = jnp.full((1 << bits) + 1, count - 1, jnp.int32).at[slot].min(side, mode="promise_in_bounds")
        winner = _take(winners, slot)
        found = left & (_take(low, winner) == low) & (_take(high, winner) == high)
        return turn + 2, left & ~found, jnp.where(found, winner, first)

    return jax.lax.while_loop(lambda state: jnp.any(state[1]), settle, (jnp.uint32(1), wanted, side))[2]


def _take(values: Array, places: Array) -> Array:
    return values.at[places].get(mode="promise_in_bounds", wrap_negative_indices=False)
