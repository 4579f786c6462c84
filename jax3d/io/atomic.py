"""Whole files or none: a file is written beside its place under a temporary name, then moved there in one step.

`os.replace` is atomic within a file system (POSIX rename), so a reader, or a run killed at any instant, sees the old
file or the new one and never half of either.
"""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yields the temporary path to write to; on leaving without an error it becomes `path`, else it is removed.

    Makes missing folders. Raises ValueError where the folder cannot be made or written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.touch()
    except OSError as error:
        raise ValueError(
            f"{path} cannot be written ({error.strerror}); choose a folder that you may write to."
        ) from None
    try:
        yield temporary
        if path.is_dir():
            raise ValueError(f"{path} cannot be written because it is a folder; choose another file name.")
        os.replace(temporary, path)
    except OSError as error:
        raise ValueError(f"{path} could not be written ({error.strerror or error}); free space or move it.") from None
    finally:
        temporary.unlink(missing_ok=True)
