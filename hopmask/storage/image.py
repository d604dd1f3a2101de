"""The payload of a file: a flat HDF5 image of plain arrays, laid out and parsed in memory.

Only what `laid_out` makes is let in by `parse`: datasets at the root, each under one hard link,
contiguous, of one of the types in `TYPES`, of one or two dimensions, without attributes, filters or
external storage. All else is refused before any of its data is looked at; HDF5 neither touches the
disk nor reads or writes a number. It sees an image as a file object (`file_object`), so that
neither laying out nor parsing takes a copy of the arrays.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from itertools import pairwise
from math import prod
from pathlib import Path
from threading import RLock
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5fd, h5g, h5l, h5o, h5p, h5pl, h5s, h5t

from hopmask.errors import CorruptStoreError, UnsafeStoreError
from hopmask.storage.file_object import Sparse, Window

TYPES: dict["np.dtype[Any]", Any] = {
    np.dtype("<f4"): h5t.IEEE_F32LE,
    np.dtype("<f8"): h5t.IEEE_F64LE,
    np.dtype("i1"): h5t.STD_I8LE,
    np.dtype("<i2"): h5t.STD_I16LE,
    np.dtype("<i4"): h5t.STD_I32LE,
    np.dtype("<i8"): h5t.STD_I64LE,
    np.dtype("u1"): h5t.STD_U8LE,
}
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
MOST = 64  # datasets
NAME = 64  # bytes of a dataset's name
_ALIGNED = 64  # bytes: each dataset begins at a multiple, so that a view of it is aligned
_own_lock = RLock()


def laid_out(arrays: Mapping[str, np.ndarray]) -> list[memoryview]:
    """The bytes of an HDF5 image of arrays, in order: HDF5's own, and the arrays' without a copy.

    An array that is not in C order, or not little-endian, is copied.

    Args:
        arrays: of one or two dimensions and of the types above.
    """
    plain = {
        name: np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        for name, array in sorted(arrays.items())
    }
    image, aligned = Sparse(), {"alignment_threshold": 1, "alignment_interval": _ALIGNED}
    with h5py.File(image, "w", libver="earliest", **aligned) as file:
        offsets = {name: _reserved(file, name, array) for name, array in plain.items()}
    pieces, done = [], 0
    for name in sorted((name for name in plain if plain[name].size), key=offsets.__getitem__):
        pieces.append(memoryview(image.between(done, offsets[name])))
        pieces.append(plain[name].reshape(-1).view(np.uint8).data)
        done = offsets[name] + plain[name].nbytes
    return [*pieces, memoryview(image.between(done, image.size))]


def _reserved(file: h5py.File, name: str, array: np.ndarray) -> int:
    """Make a dataset without writing its numbers; the place of the numbers, if there are any."""
    how = h5p.create(h5p.DATASET_CREATE)
    how.set_layout(h5d.CONTIGUOUS)
    how.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    how.set_fill_time(h5d.FILL_TIME_NEVER)
    how.set_obj_track_times(False)
    space = h5s.create_simple(array.shape)
    data = h5d.create(file.id, name.encode(), TYPES[array.dtype], space, dcpl=how)
    return data.get_offset() or 0


def parse(path: Path, image: memoryview) -> dict[str, np.ndarray]:
    """The arrays of an image, the payload of the file at `path`: views of its bytes.

    Nothing is copied: an array is writable where `image` is, and keeps all of `image` in memory.

    Raises:
        CorruptStoreError: HDF5 cannot read it.
        UnsafeStoreError: it holds something that hopmask never writes.
    """
    if image[: len(_SIGNATURE)] != _SIGNATURE:  # HDF5 would go on to look for it further behind
        raise UnsafeStoreError(f"{path}: its payload does not begin as HDF5. Nothing was loaded")
    window, access = Window(image), h5p.create(h5p.FILE_ACCESS)
    access.set_fileobj_driver(h5fd.fileobj_driver, window)
    access.set_fclose_degree(h5f.CLOSE_STRONG)  # also where a traceback still holds parts of it
    try:
        with _no_plugins():
            file = h5f.open(b"payload", h5f.ACC_RDONLY, fapl=access)
            try:
                return _arrays(path, h5g.open(file, b"/"), image)
            finally:
                file.close()
    except UnsafeStoreError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise CorruptStoreError(f"{path}: HDF5 cannot read its payload ({error})") from error


@contextmanager
def _no_plugins() -> Iterator[None]:
    """Keep HDF5 from loading libraries, as it does in search of one that can open a bad file."""
    with _h5py_lock():
        folders = []
        while h5pl.size():
            folders.append(h5pl.get(0))
            h5pl.remove(0)
        try:
            yield
        finally:
            for folder in folders:
                h5pl.append(folder)


def _h5py_lock() -> AbstractContextManager[object]:
    """The lock under which h5py calls HDF5: no other thread calls it meanwhile.

    h5py has no public name for it. Where the private one is gone, this is a lock of our own, which
    keeps apart the threads that parse images.
    """
    try:
        from h5py._objects import phil
    except ImportError:
        return _own_lock
    lock: AbstractContextManager[object] = phil
    return lock


def _arrays(path: Path, root: h5g.GroupID, image: memoryview) -> dict[str, np.ndarray]:
    if root.get_num_objs() > MOST:
        raise _unsafe(path, f"more than {MOST} objects")
    if h5a.get_num_attrs(root):
        raise _unsafe(path, "an attribute")
    found, ranges = {}, [(0, 0)]
    for name in [root.get_objname_by_idx(i) for i in range(root.get_num_objs())]:
        if root.links.get_info(name).type != h5l.TYPE_HARD:
            raise _unsafe(path, f"a link that is not hard, {name[:NAME]!r}")
        about = h5o.get_info(root, name)
        if len(name) > NAME or about.type != h5o.TYPE_DATASET or about.rc != 1:
            raise _unsafe(path, f"{name[:NAME]!r}, which is no plain dataset")
        dtype, shape, offset = _where(path, h5d.open(root, name), name)
        size = dtype.itemsize * prod(shape)
        array = np.frombuffer(image, dtype, prod(shape), offset if size else 0)
        found[name.decode()] = array.reshape(shape)
        ranges.append((offset, offset + size))
    ranges.sort()
    if any(end > begin for (_, end), (begin, _) in pairwise(ranges)):
        raise _unsafe(path, "datasets that overlap")
    return found


def _where(
    path: Path, data: h5d.DatasetID, name: bytes
) -> tuple["np.dtype[Any]", tuple[int, ...], int]:
    """Type, shape and place of a dataset of the one form that there is."""
    how, space, kind = data.get_create_plist(), data.get_space(), data.get_type()
    known = [dtype for dtype, stored in TYPES.items() if kind == stored]
    shape = space.get_simple_extent_dims() if space.get_simple_extent_type() == h5s.SIMPLE else ()
    plain = (
        how.get_layout() == h5d.CONTIGUOUS
        and how.get_nfilters() == 0
        and how.get_external_count() == 0
        and h5a.get_num_attrs(data) == 0
        and not kind.committed()
        and space.get_simple_extent_dims(True) == shape  # it cannot grow
    )
    if not plain or len(known) != 1 or not 1 <= len(shape) <= 2:
        raise _unsafe(path, f"dataset {name!r} in another form than a plain array's")
    size, offset = known[0].itemsize * prod(shape), data.get_offset()
    if data.get_storage_size() != size or (size and offset is None):
        raise _unsafe(path, f"dataset {name!r} that is not stored in full")
    return known[0], shape, offset or 0


def _unsafe(path: Path, what: str) -> UnsafeStoreError:
    return UnsafeStoreError(
        f"{path} holds {what}: hopmask never writes that. Nothing was loaded, and no other file "
        "opened. If you did not make this file yourself, do not open it with other programs either"
    )
