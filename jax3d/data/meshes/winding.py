"""How often triangles wind around a point: the generalised winding number, one rule of inside for every mesh.

    w(q) = 1 / 4 pi  sum over triangles of the solid angle that they show to q

(Jacobson, Kavan & Sorkine-Hornung 2013). Around a closed surface, wound counter-clockwise seen from outside, w is 1
inside and 0 outside; where closed parts overlap the counts add. Of an open surface it is the fraction of the view
that is covered, smooth away from the surface, and w > 1/2 closes its holes: a flat hole by its plane, as it covers half
the view of each of its points, so that an open hemisphere counts as the half ball. A flat sheet has no inside. A
triangle with corners a, b, c seen from q = 0 covers (van Oosterom & Strackee 1983)

    tan(angle / 2) = a . (b x c) / (|a| |b| |c| + (a . b) |c| + (b . c) |a| + (c . a) |b|).

A group of triangles that is far is a dipole, of the group's vector area N at its centre p: w = N . (p - q) / 4 pi |p -
q|^3 (Barill et al. 2018, eq. 11). Groups are halved until they are far from a point or small.
"""

import numpy as np
from jaxtyping import Float

FAR = 2.5
"""A group is a dipole from this many of its radii on: errors below 0.03, and 0.003 in the mean."""
SMALL = 24
PAIRS = 1 << 16


def winding_numbers(points: Float[np.ndarray, "n 3"], triangles: Float[np.ndarray, "f 3 3"]) -> Float[np.ndarray, " n"]:
    """Winding numbers of the triangles around the points; on the surface the mean of both sides, or either."""
    total = np.zeros(len(points))
    centres = triangles.mean(1)
    areas = 0.5 * np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    pending = [(np.arange(len(triangles)), np.arange(len(points)))]
    while pending:
        group, rows = pending.pop()
        centre = np.average(centres[group], axis=0, weights=np.linalg.norm(areas[group], axis=-1) + 1e-300)
        toward = centre - points[rows]
        distance = np.linalg.norm(toward, axis=-1)
        far = distance > FAR * np.linalg.norm(triangles[group] - centre, axis=-1).max()
        total[rows[far]] += toward[far] @ areas[group].sum(0) / (4 * np.pi * distance[far] ** 3)
        near = rows[~far]
        if not len(near):
            continue
        if len(group) > SMALL:  # halved at the median of the longest side
            axis = np.ptp(centres[group], axis=0).argmax()
            half = len(group) // 2
            order = group[np.argpartition(centres[group, axis], half)]
            pending += [(order[:half], near), (order[half:], near)]
            continue
        for start in range(0, len(near), PAIRS // len(group)):
            some = near[start : start + PAIRS // len(group)]
            total[some] += _solid_angles(points[some], triangles[group]) / (4 * np.pi)
    return total


def _solid_angles(points: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """Sums [n] over the triangles; products of differences are written out, as matrix products."""
    middle = triangles.mean((0, 1))  # the origin here, lest the written-out products cancel
    points, triangles = points - middle, triangles - middle
    square = np.sum(points**2, axis=-1, keepdims=True)
    corners = np.moveaxis(triangles, 1, 0)
    pairs = [(0, 1), (1, 2), (2, 0)]
    a, b, c = (np.sqrt(np.maximum(square + np.sum(x * x, axis=-1) - points @ (2 * x).T, 0)) for x in corners)
    ab, bc, ca = (
        np.sum(corners[i] * corners[j], axis=-1) + square - points @ (corners[i] + corners[j]).T for i, j in pairs
    )
    around = sum(np.cross(corners[i], corners[j]) for i, j in pairs)
    volume = np.sum(corners[0] * np.cross(corners[1], corners[2]), axis=-1) - points @ around.T
    return 2 * np.arctan2(volume, a * b * c + ab * c + bc * a + ca * b).sum(-1)
