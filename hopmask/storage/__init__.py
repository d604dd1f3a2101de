"""Files that survive: documents of plain arrays, committed whole and for good, or not at all.

A file is a container (`container`) around an HDF5 image (`image`) of one document (`document`).
`write` commits its next generation under the lock of its writers (`lock`, `commit`, `writer`);
`read` takes no lock and verifies before it parses; `recover` puts the previous generation back in
place and `migrate` brings older schemas to the newest. `system` has what differs between operating
systems, `docs/file_format.md` the bytes.

Example:
    >>> import tempfile
    >>> import numpy as np
    >>> counts = Document(kind="counts", about={"of": "tasks"}, arrays={"counts": np.arange(3)})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     stamp = write(folder + "/counts.h5", counts)
    ...     read(folder + "/counts.h5", kinds=("counts",)).arrays["counts"], stamp.generation
    (array([0, 1, 2]), 1)

Source:
    Temporary file, fsync, rename, fsync of the folder: Pillai et al. 2014, "All file systems are
    not created equal" (OSDI).
"""

from hopmask.storage.document import SCHEMA, Document, Stamp, read, read_stamped
from hopmask.storage.recovery import Recovered, migrate, recover
from hopmask.storage.writer import Writer, write, writing

__all__ = [
    "SCHEMA",
    "Document",
    "Recovered",
    "Stamp",
    "Writer",
    "migrate",
    "read",
    "read_stamped",
    "recover",
    "write",
    "writing",
]
