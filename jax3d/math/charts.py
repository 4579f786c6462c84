"""xatlas in a process of its own: reads a mesh from stdin, writes its atlas to stdout, both as .npz.

`math/atlas.unwrap` runs this file so that it can end what takes too long, and outlive what crashes.
"""

import io
import sys

import numpy as np
import xatlas


def main() -> None:
    """positions [v, 3], faces [f, 3], size -> origin [v'] (the vertex a new one copies), faces [f, 3], uv [v', 2]."""
    given = np.load(io.BytesIO(sys.stdin.buffer.read()))
    atlas, charts, packing = xatlas.Atlas(), xatlas.ChartOptions(), xatlas.PackOptions()
    atlas.add_mesh(given["positions"], given["faces"])
    charts.fix_winding = True  # no mirrored charts
    packing.resolution, packing.padding = int(given["size"]), int(given["padding"])
    atlas.generate(charts, packing)
    if atlas.atlas_count != 1:
        sys.exit("the charts need more than one atlas")
    origin, faces, uv = atlas[0]
    np.savez(sys.stdout.buffer, origin=origin, faces=faces, uv=uv)


if __name__ == "__main__":
    main()
