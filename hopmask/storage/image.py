"""The payload of a file: a flat HDF5 image of plain arrays, laid out and parsed in memory.

Only what `laid_out` makes is let in by `parse`: datasets at the root, each under one hard link,
contiguous, of little-endian float32, float64, int64 or uint8, of one or two dimensions, without
attributes, filters or external storage. All else is refused before any of its data is looked at;
HDF5 neither touches the disk nor reads or writes a number.
"""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from functools import lru_cache
from itertools import pairwise
from math import prod
from pathlib import Path
from threading import RLock, get_ident
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5f, h5g, h5l, h5o, h5p, h5pl, h5s, h5t

from hopmask.errors import CorruptStoreError, UnsafeStoreError

TYPES: dict["np.dtype[Any]", Any] = {
    np.dtype("<f4"): h5t.IEEE_F32LE,
    np.dtype("<f8"): h5t.IEEE_F64LE,
    np.dtype("<i8"): h5t.STD_I64LE,
    np.dtype("u1"): h5t.STD_U8LE,
}
_SIGNATURE = b"\x89HDF\r\n\x1a\n"
MOST = 64  # datasets
NAME = 64  # bytes of a dataset's name
_Shape = tuple[tuple[str, str, tuple[int, ...]], ...]  # name, type and shape of each dataset
_own_lock = RLock()


def laid_out(arrays: Mapping[str, np.ndarray]) -> list[memoryview]:
    """The bytes of an HDF5 image of arrays, in order: HDF5's own, and the arrays' without a copy.

    Args:
        arrays: of one or two dimensions and of the types above.
    """
    plain = {
        name: np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        for name, array in sorted(arrays.items())
    }
    frame, offsets = _frame(tuple((n, a.dtype.str, a.shape) for n, a in plain.items()))
    pieces = []
    for offset, name in offsets:
        pieces += [memoryview(frame[offset]), plain[name].reshape(-1).view(np.uint8).data]
    pieces.append(memoryview(frame[-1]))
    return pieces


@lru_cache(maxsize=8)
def _frame(shape: _Shape) -> tuple[dict[int, bytes], list[tuple[int, str]]]:
    """What HDF5 writes around arrays: offset of an array -> bytes before it; at -1, the last ones.

    With them the offsets, in order, and whose they are.
    """
    core = {"driver": "core", "backing_store": False, "libver": "earliest"}
    with h5py.File(_name(), "w", **core) as file:
        found = {}
        for name, dtype, sides in shape:
            how = h5p.create(h5p.DATASET_CREATE)
            how.set_layout(h5d.CONTIGUOUS)
            how.set_alloc_time(h5d.ALLOC_TIME_EARLY)
            how.set_fill_time(h5d.FILL_TIME_NEVER)
            how.set_obj_track_times(False)
            kind, space = TYPES[np.dtype(dtype)], h5s.create_simple(sides)
            data = h5d.create(file.id, name.encode(), kind, space, dcpl=how)
            found[name] = (data.get_offset(), np.dtype(dtype).itemsize * prod(sides))
            del data
        file.flush()
        image = file.id.get_file_image()
    begins = sorted((offset, name) for name, (offset, size) in found.items() if size)
    frame, done = {}, 0
    for offset, name in begins:
        frame[offset] = image[done:offset]
        done = offset + found[name][1]
    frame[-1] = image[done:]
    return frame, begins


def parse(path: Path, image: memoryview) -> dict[str, np.ndarray]:
    """The arrays of an image, the payload of the file at `path`: views of its bytes.

    Raises:
        CorruptStoreError: HDF5 cannot read it.
        UnsafeStoreError: it holds something that hopmask never writes.
    """
    if image[: len(_SIGNATURE)] != _SIGNATURE:  # HDF5 would go on to look for it further behind
        raise UnsafeStoreError(f"{path}: its payload does not begin as HDF5. Nothing was loaded")
    access = h5p.create(h5p.FILE_ACCESS)
    access.set_fapl_core(backing_store=False)
    access.set_fclose_degree(h5f.CLOSE_STRONG)  # also where a traceback still holds parts of it
    try:
        with _no_plugins():
            access.set_file_image(image)
            file = h5f.open(_name().encode(), h5f.ACC_RDONLY, fapl=access)
            try:
                return _arrays(path, h5g.open(file, b"/"), image)
            finally:
                file.close()
    except UnsafeStoreError:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise CorruptStoreError(f"{path}: HDF5 cannot read its payload ({error})") from error


def _name() -> str:
    """Of an image in memory: HDF5 takes two of one name, open at once, for one file."""
    return f"image of thread {get_ident()}"


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
