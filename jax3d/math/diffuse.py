"""Smooth coordinates for the vertices of a mesh (Nicolet et al. 2021, "Large steps in inverse rendering of geometry").

    (I + a L) x = u,      L x_i = sum over edges ij of (x_i - x_j)

With u trained instead of x, the gradient of a loss with respect to u is (I + a L)^-1 that with respect to x: a step
moves regions and not single vertices, whatever the mesh, and still any x can be reached. The system is symmetric and
positive definite with eigenvalues in [1, 1 + 2 a d], d the most edges at a vertex; conjugate gradients solve it.
"""

from jax.scipy.sparse.linalg import cg
from jaxtyping import Array, Float, Int

Number = float | Float[Array, ""]


def sharpened(x: Float[Array, "v c"], ends: Int[Array, "e 2"], amount: Number) -> Float[Array, "v c"]:
    """u of x: (I + amount L) x, with the edges of a mesh, each once; edges (0, 0) count for nothing."""
    step = amount * (x[ends[:, 0]] - x[ends[:, 1]])
    return x.at[ends[:, 0]].add(step).at[ends[:, 1]].add(-step)


def diffused(
    u: Float[Array, "v c"], ends: Int[Array, "e 2"], amount: Number, *, tolerance: float = 1e-4
) -> Float[Array, "v c"]:
    """x of u, up to a relative residual; differentiable in u alone."""
    return cg(lambda x: sharpened(x, ends, amount), u, x0=u, tol=tolerance, maxiter=200)[0]
