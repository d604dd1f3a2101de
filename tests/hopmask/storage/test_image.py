"""The image: plain arrays come back as they are, and nothing but plain arrays is let in."""

import io
import os
import subprocess
import sys
import threading
import tracemalloc

import h5py
import numpy as np
import pytest
from h5py import h5d, h5f, h5p, h5pl, h5s, h5t
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from hopmask.errors import CorruptStoreError, StoreFileError, UnsafeStoreError
from hopmask.storage import Document, image, read_stamped, write

ARRAYS = {
    "a": np.arange(12, dtype=np.float32).reshape(3, 4),
    "b": np.linspace(0, 1, 5),
    "c": np.array([[-1, 2**62]]),
    "d": np.arange(7, dtype=np.uint8),
    "e": np.arange(-5, 6, dtype=np.int8),
    "f": np.array([[-(2**15)], [2**15 - 1], [7]], np.int16),
    "g": np.array([-(2**31), 2**31 - 1], np.int32),
}
TYPES = ("<f4", "<f8", "i1", "<i2", "<i4", "<i8", "u1")


def joined(arrays):
    return b"".join(image.laid_out(arrays))


def same(found, arrays):
    return set(found) == set(arrays) and all(
        found[n].dtype == arrays[n].dtype
        and found[n].shape == arrays[n].shape
        and found[n].tobytes() == arrays[n].tobytes()
        for n in arrays
    )


# There and back


@given(
    st.dictionaries(
        st.text("abcdefgh_", min_size=1, max_size=64),
        st.sampled_from(TYPES).flatmap(
            lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=2, max_side=9))
        ),
        max_size=5,
    )
)
def test_arrays_come_back_to_the_bit(tmp_path_factory, arrays):
    path = tmp_path_factory.getbasetemp() / "none.h5"
    assert same(image.parse(path, memoryview(joined(arrays))), arrays)


@pytest.mark.parametrize("shape", [(0,), (0, 3)])
def test_an_array_of_no_numbers_comes_back(path, shape):
    arrays = {"none": np.zeros(shape, np.float32), "some": np.arange(3)}
    assert same(image.parse(path, memoryview(joined(arrays))), arrays)


@pytest.mark.parametrize("change", [np.asfortranarray, lambda a: a[:, ::-1], lambda a: a[::2, 1:]])
def test_an_array_of_any_layout_comes_back(path, change):
    array = change(np.arange(40.0).reshape(5, 8))
    assert same(image.parse(path, memoryview(joined({"a": array}))), {"a": array})


def test_an_array_of_the_other_byte_order_is_turned(path):
    found = image.parse(path, memoryview(joined({"a": np.arange(5, dtype=">f8")})))
    assert found["a"].dtype == np.dtype("<f8")
    assert found["a"].tolist() == [0, 1, 2, 3, 4]


def test_as_many_datasets_as_are_let_in_come_back(path):
    arrays = {f"a{i}": np.array([i]) for i in range(64)}
    assert same(image.parse(path, memoryview(joined(arrays))), arrays)


def test_arrays_are_laid_out_without_a_copy():
    pieces = image.laid_out(ARRAYS)
    for array in ARRAYS.values():
        assert any(
            np.shares_memory(array, np.frombuffer(piece, np.uint8)) for piece in pieces if piece
        )


def test_arrays_are_parsed_without_a_copy(path):
    content = np.frombuffer(joined(ARRAYS), np.uint8)
    for array in image.parse(path, memoryview(content)).values():
        assert np.shares_memory(array, content)


@pytest.mark.parametrize("before", [1, 7, 3001])
def test_views_are_aligned_whatever_lies_before_them(path, before):
    arrays = {"a": np.zeros(before, np.uint8), **{f"b{t}": np.arange(3).astype(t) for t in TYPES}}
    content = np.zeros(len(joined(arrays)) + 64, np.uint8)
    content = content[-content.ctypes.data % 64 :][: len(joined(arrays))]
    content[:] = np.frombuffer(joined(arrays), np.uint8)
    found = image.parse(path, memoryview(content))
    assert same(found, arrays)
    assert all(array.ctypes.data % 64 == 0 for array in found.values())


@pytest.mark.parametrize("writable", [False, True])
def test_views_are_writable_where_the_image_is(path, writable):
    content = (bytearray if writable else bytes)(joined(ARRAYS))
    for array in image.parse(path, memoryview(content)).values():
        assert array.flags.writeable == writable


def test_sides_may_be_of_millions_and_arrays_of_gigabytes():
    arrays = {
        "couplings": np.zeros((2**23 + 1, 129), np.int8),  # never touched: it takes no memory
        "wide": np.zeros((2**23 + 1, 1), np.int32),
    }
    tracemalloc.start()
    try:
        begin, _ = tracemalloc.get_traced_memory()
        pieces = image.laid_out(arrays)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert sum(map(len, pieces)) - sum(a.nbytes for a in arrays.values()) < 4096
    assert peak - begin < 1e6


def test_the_bytes_depend_on_the_arrays_alone():
    again = dict(reversed([(name, array.copy()) for name, array in ARRAYS.items()]))
    assert joined(ARRAYS) == joined(again)


def test_a_fresh_process_lays_out_the_same_bytes():
    program = (
        "import sys, numpy as np\n"
        "from hopmask.storage import image\n"
        "arrays = {'a': np.arange(6.0), 'meta': np.arange(3, dtype=np.uint8)}\n"
        "sys.stdout.buffer.write(b''.join(image.laid_out(arrays)))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True)
    assert done.returncode == 0, done.stderr
    arrays = {"a": np.arange(6.0), "meta": np.arange(3, dtype=np.uint8)}
    assert done.stdout == joined(arrays)


def test_a_written_file_opens_in_plain_h5py(path):
    write(path, Document(kind="any", about={}, arrays=ARRAYS))
    with h5py.File(path, "r") as file:
        assert file.userblock_size == 512
        assert set(file) == {*ARRAYS, "meta"}
        assert not file.attrs
        for name, array in ARRAYS.items():
            assert file[name].dtype == array.dtype
            assert np.array_equal(file[name][()], array)
            assert (file[name].chunks, file[name].compression, file[name].fletcher32) == (
                None,
                None,
                False,
            )


@pytest.mark.parametrize("name", ["层 1", "\x01"])
def test_a_name_beyond_ascii_comes_back(path, name):
    arrays = {name: np.arange(3)}
    assert same(image.parse(path, memoryview(joined(arrays))), arrays)


def test_images_are_parsed_side_by_side(path):
    """Threads that read different files at once get each their own."""
    images = [memoryview(joined({f"a{i}": np.arange(i + 3)})) for i in range(2)]
    wrong = []

    def parse(i):
        for _ in range(100):
            try:
                if set(image.parse(path, images[i])) != {f"a{i}"}:
                    wrong.append(i)
            except StoreFileError as error:
                wrong.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=parse, args=(i,)) for i in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert wrong == []


def test_an_image_is_laid_out_and_parsed_though_the_error_of_another_is_kept(path, imaged):
    with pytest.raises(UnsafeStoreError) as kept:
        image.parse(path, memoryview(imaged(groups)))
    assert same(image.parse(path, memoryview(joined(ARRAYS))), ARRAYS)
    assert kept.value is not None


# What is refused: images that plain h5py makes, in files of a header that fits


def groups(file):
    file.create_group("g")["a"] = np.arange(3)


def soft_link(file):
    file["a"] = np.arange(3)
    file["b"] = h5py.SoftLink("/a")


def soft_link_to_nowhere(file):
    file["b"] = h5py.SoftLink("/none")


def soft_link_in_a_circle(file):
    file["b"] = h5py.SoftLink("/b")


def external_link(file):
    file["b"] = h5py.ExternalLink("/etc/hostname", "/a")


def cyclic_group(file):
    file.create_group("g")
    file["g/again"] = file["g"]


def root_within_itself(file):
    file["again"] = file["/"]


def dataset_linked_twice(file):
    file["a"] = np.arange(3)
    file["b"] = file["a"]


def dataset_linked_from_a_group(file):
    file["a"] = np.arange(3)
    file.create_group("g")["b"] = file["a"]


def dataset_linked_twice_to_pass_the_limit(file):
    file["a"] = np.arange(3)
    for i in range(70):
        file[f"b{i}"] = file["a"]


def virtual(file):
    layout = h5py.VirtualLayout(shape=(3,), dtype="<i8")
    layout[:] = h5py.VirtualSource("/etc/hostname", "a", shape=(3,))
    file.create_virtual_dataset("v", layout)


def virtual_of_itself(file):
    file["a"] = np.arange(3)
    layout = h5py.VirtualLayout(shape=(3,), dtype="<i8")
    layout[:] = h5py.VirtualSource(".", "a", shape=(3,))
    file.create_virtual_dataset("v", layout)


def chunked(file):
    file.create_dataset("a", data=np.arange(8), chunks=(4,))


def compact(file):
    made(file, layout=h5d.COMPACT)[...] = np.arange(3)


def gzip(file):
    file.create_dataset("a", data=np.arange(8), compression="gzip")


def lzf(file):
    file.create_dataset("a", data=np.arange(8), compression="lzf")


def fletcher(file):
    file.create_dataset("a", data=np.arange(8), fletcher32=True)


def shuffle(file):
    file.create_dataset("a", data=np.arange(8), shuffle=True)


def scale_offset(file):
    file.create_dataset("a", data=np.arange(8), scaleoffset=2)


def unknown_filter(file):
    how = h5p.create(h5p.DATASET_CREATE)
    how.set_chunk((4,))
    how.set_filter(40_000, flags=h5py.h5z.FLAG_OPTIONAL)
    h5d.create(file.id, b"a", h5t.STD_I64LE, h5s.create_simple((8,)), dcpl=how)


def resizable(file):
    file.create_dataset("a", data=np.arange(8), maxshape=(None,))


def resizable_within_bounds(file):
    file.create_dataset("a", data=np.arange(8), maxshape=(9,))


def attribute_of_the_root(file):
    file["a"] = np.arange(3)
    file.attrs["x"] = 1


def attribute_of_a_dataset(file):
    file["a"] = np.arange(3)
    file["a"].attrs["x"] = 1


def many_attributes(file):
    file["a"] = np.arange(3)
    for i in range(20):
        file["a"].attrs[f"x{i}"] = "text"


def scalar(file):
    file["a"] = 3


def null(file):
    file["a"] = h5py.Empty("<i8")


def cube(file):
    file["a"] = np.zeros((2, 2, 2))


def many_dimensions(file):
    file["a"] = np.zeros((1,) * 32)


def variable_strings(file):
    file.create_dataset("a", data=["x", "yy"], dtype=h5py.string_dtype())


def fixed_strings(file):
    file["a"] = np.array([b"abc"])


def ragged(file):
    file.create_dataset("a", (2,), dtype=h5py.vlen_dtype(np.int64))


def compound(file):
    file["a"] = np.zeros(3, [("x", "<f4"), ("y", "<i8")])


def array_type(file):
    made(file, kind=h5t.array_create(h5t.IEEE_F32LE, (2,)))


def opaque(file):
    made(file, kind=h5t.create(h5t.OPAQUE, 8))


def bitfield(file):
    made(file, kind=h5t.STD_B8LE)


def complex_numbers(file):
    file["a"] = np.zeros(3, complex)


def booleans(file):
    file["a"] = np.zeros(3, bool)


def enumeration(file):
    file.create_dataset("a", (3,), dtype=h5py.enum_dtype({"x": 0, "y": 1}, basetype="u1"))


def object_references(file):
    file["x"] = np.arange(3)
    file.create_dataset("a", data=[file["x"].ref], dtype=h5py.ref_dtype)


def region_references(file):
    file["x"] = np.arange(3)
    file.create_dataset("a", data=[file["x"].regionref[:2]], dtype=h5py.regionref_dtype)


def committed_type(file):
    file["t"] = np.dtype("<f4")


def of_a_committed_type(file):
    file["t"] = np.dtype("<f4")
    file.create_dataset("a", (3,), dtype=file["t"])
    file["a"][...] = 1


def of_an_unlinked_committed_type(file):
    of_a_committed_type(file)
    del file["t"]


def odd_precision(file):
    kind = h5t.STD_I64LE.copy()
    kind.set_precision(60)
    made(file, kind=kind)


def never_written(file):
    how = h5p.create(h5p.DATASET_CREATE)
    how.set_layout(h5d.CONTIGUOUS)
    h5d.create(file.id, b"a", h5t.STD_I64LE, h5s.create_simple((8,)), dcpl=how)


def terabytes_never_written(file):
    file.create_dataset("a", (2**40,), "<f8")


def terabytes_with_a_fill_value(file):
    file.create_dataset("a", (2**20, 2**20), "<f4", fillvalue=3)


def external_storage(file):
    file.create_dataset("a", (3,), "<i8", external=[("/etc/hostname", 0, 24)])


def too_many(file):
    for i in range(65):
        file[f"a{i}"] = np.arange(3)


def a_long_name(file):
    file["a" * 65] = np.arange(3)


def a_very_long_name(file):
    file["a" * 60_000] = np.arange(3)


def made(file, *, kind=h5t.STD_I64LE, layout=h5d.CONTIGUOUS):
    how = h5p.create(h5p.DATASET_CREATE)
    how.set_layout(layout)
    if layout == h5d.CONTIGUOUS:
        how.set_alloc_time(h5d.ALLOC_TIME_EARLY)
    return h5py.Dataset(h5d.create(file.id, b"a", kind, h5s.create_simple((3,)), dcpl=how))


HOSTILE = [
    value
    for name, value in list(globals().items())
    if getattr(value, "__code__", None) and value.__code__.co_varnames[:1] == ("file",)
    if name not in ("made",)
]


@pytest.fixture
def crafted(path, contained):
    """(image) -> a file of a header that fits that image."""

    def make(payload):
        path.write_bytes(contained(payload))
        return path

    return make


@pytest.mark.parametrize("make", HOSTILE, ids=lambda make: make.__name__)
def test_what_hopmask_never_writes_is_refused(path, imaged, make):
    for libver in ("earliest", "latest"):  # old and new forms of groups
        with pytest.raises(UnsafeStoreError):
            image.parse(path, memoryview(imaged(make, libver=libver)))


@pytest.mark.parametrize("dtype", [">f8", ">i2", ">i4", "f2", "u2", "u4", "u8"])
def test_any_other_type_of_numbers_is_refused(crafted, imaged, dtype):
    def make(file):
        file["a"] = np.arange(3).astype(dtype)

    with pytest.raises(UnsafeStoreError, match="another form"):
        read_stamped(crafted(imaged(make)))


@pytest.mark.parametrize("dtype", ["i1", "<i2", "<i4"])
@pytest.mark.parametrize(
    "options",
    [
        {"chunks": (4,)},
        {"maxshape": (9,)},
        {"compression": "gzip"},
        {"external": [("/etc/hostname", 0, 32)]},
        {"shape": (2, 2, 2)},
        {"shape": ()},
    ],
    ids=lambda options: "".join(options),
)
def test_small_integers_in_another_form_are_refused(path, imaged, dtype, options):
    def make(file):
        file.create_dataset("a", **{"shape": (8,), "dtype": dtype} | options)

    with pytest.raises(UnsafeStoreError):
        image.parse(path, memoryview(imaged(make)))


@pytest.mark.parametrize("kind", [h5t.STD_I8LE, h5t.STD_I16LE, h5t.STD_I32LE])
def test_small_integers_with_an_attribute_or_of_odd_precision_are_refused(path, imaged, kind):
    def attribute(file):
        made(file, kind=kind).attrs["x"] = 1

    def precision(file):
        odd = kind.copy()
        odd.set_precision(kind.get_precision() - 1)
        made(file, kind=odd)

    for make in (attribute, precision):
        with pytest.raises(UnsafeStoreError):
            image.parse(path, memoryview(imaged(make)))


def test_a_user_defined_link_is_refused(crafted, imaged):
    """An external link whose class is made one that nobody registered."""
    content = bytearray(imaged(external_link, libver="latest"))
    at = content.index(b"/etc/hostname")
    kinds = [i for i in range(at - 12, at) if content[i] == 64]  # H5L_TYPE_EXTERNAL
    assert kinds
    content[kinds[0]] = 200
    with pytest.raises(StoreFileError):
        read_stamped(crafted(content))


def test_a_name_that_is_no_text_is_refused(crafted, imaged):
    def make(file):
        kind, space = h5t.STD_I64LE, h5s.create_simple((3,))
        how = h5p.create(h5p.DATASET_CREATE)
        how.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        h5d.create(file.id, b"\xff\xfe", kind, space, dcpl=how)

    with pytest.raises(StoreFileError):
        read_stamped(crafted(imaged(make)))


def offset_of(content, name):
    with h5py.File(io.BytesIO(content), "r") as file:
        return file[name].id.get_offset()


def moved(content, name, to):
    """The image with the address of a dataset's numbers changed, as HDF5 stores it."""
    old = offset_of(content, name).to_bytes(8, "little")
    assert content.count(old) == 1
    return content.replace(old, to.to_bytes(8, "little"))


def test_datasets_that_overlap_are_refused(crafted):
    content = joined({"a": np.zeros(50), "b": np.ones(50)})
    to = offset_of(content, "a") + 8
    with pytest.raises(UnsafeStoreError, match="overlap"):
        read_stamped(crafted(moved(content, "b", to)))


def test_datasets_of_the_same_numbers_are_refused(crafted):
    content = joined({"a": np.zeros(50), "b": np.ones(50)})
    with pytest.raises(UnsafeStoreError, match="overlap"):
        read_stamped(crafted(moved(content, "b", offset_of(content, "a"))))


@pytest.mark.parametrize("beyond", [-8, 2**62])
def test_a_dataset_beyond_the_end_is_refused(crafted, beyond):
    content = joined({"a": np.zeros(50), "b": np.ones(50)})
    with pytest.raises(StoreFileError):
        read_stamped(crafted(moved(content, "b", len(content) + beyond)))


@pytest.mark.parametrize("content", [b"", b"x", bytes(2048), bytes(512) + b"\x89HDF\r\n\x1a\n"])
def test_a_payload_that_does_not_begin_as_an_image_is_unsafe(crafted, content):
    with pytest.raises(UnsafeStoreError, match="does not begin as HDF5"):
        read_stamped(crafted(content))


def test_a_payload_that_goes_on_otherwise_is_corrupt(crafted):
    with pytest.raises(CorruptStoreError, match="HDF5 cannot read its payload"):
        read_stamped(crafted(b"\x89HDF\r\n\x1a\n" + bytes(2048)))


def test_no_plugin_is_looked_for_and_the_folders_of_plugins_stay(crafted, imaged, monkeypatch):
    before, seen, real = [h5pl.get(i) for i in range(h5pl.size())], [], image._arrays

    def look(*arguments):
        seen.append(h5pl.size())
        return real(*arguments)

    monkeypatch.setattr(image, "_arrays", look)
    with pytest.raises(UnsafeStoreError):
        read_stamped(crafted(imaged(unknown_filter)))
    assert seen == [0]
    assert [h5pl.get(i) for i in range(h5pl.size())] == before


def test_an_image_that_is_cut_is_corrupt(crafted):
    content = joined({"a": np.zeros(5000)})
    with pytest.raises(StoreFileError):
        read_stamped(crafted(content[:4000]))


def test_an_image_behind_a_user_block_of_its_own_is_refused(crafted, imaged):
    def make(file):
        file["a"] = np.arange(3)

    with pytest.raises(StoreFileError):
        read_stamped(crafted(imaged(make, userblock_size=512)))


def test_an_external_file_is_neither_opened_nor_made(crafted, imaged, tmp_path):
    outside = tmp_path / "outside.raw"

    def make(file):
        file.create_dataset("a", (3,), "<i8", external=[(str(outside), 0, 24)])
        file["b"] = h5py.ExternalLink(str(outside), "/a")

    path = crafted(imaged(make))
    for there in (False, True):
        if there:
            outside.write_bytes(bytes(24))
            os.utime(outside, ns=(10**18, 10**18))
        with pytest.raises(UnsafeStoreError, match="no other file opened"):
            read_stamped(path)
        assert outside.exists() == there
    assert outside.stat().st_atime_ns == 10**18
    assert outside.read_bytes() == bytes(24)


def test_hostile_files_take_no_memory_and_open_no_other_file(path, contained, imaged):
    program = (
        "import sys, resource\n"
        "from hopmask.errors import UnsafeStoreError\n"
        "from hopmask.storage import read_stamped\n"
        "opened = []\n"
        "sys.addaudithook(lambda event, found: event == 'open' and opened.append(found[0]))\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        read_stamped(path)\n"
        "    except UnsafeStoreError:\n"
        "        continue\n"
        "    raise SystemExit(f'{path} was let in')\n"
        "grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before\n"
        "assert grown < 20_000, f'{grown} kB'\n"
        "assert set(map(str, opened)) <= set(sys.argv[1:]), opened\n"
    )
    paths = []
    for make in (external_storage, external_link, virtual, terabytes_never_written):
        paths.append(str(path.with_name(make.__name__)))
        path.with_name(make.__name__).write_bytes(contained(imaged(make)))
    done = subprocess.run(
        [sys.executable, "-c", program, *paths], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


def test_a_small_file_that_declares_terabytes_takes_no_memory(crafted, imaged):
    path = crafted(imaged(terabytes_with_a_fill_value))
    assert path.stat().st_size < 4096
    tracemalloc.start()
    try:
        with pytest.raises(UnsafeStoreError, match="not stored in full"):
            read_stamped(path)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1e6


def test_a_group_is_counted_before_it_is_walked(crafted, imaged, monkeypatch):
    path = crafted(imaged(dataset_linked_twice_to_pass_the_limit))
    monkeypatch.setattr(image, "_where", lambda *_: pytest.fail("a dataset was opened"))
    with pytest.raises(UnsafeStoreError, match="more than 64 objects"):
        read_stamped(path)


def test_nothing_stays_open(crafted, imaged):
    for make in (groups, external_link, chunked):
        with pytest.raises(UnsafeStoreError):
            read_stamped(crafted(imaged(make)))
    image.parse(crafted(b""), memoryview(joined(ARRAYS)))
    objects = h5f.OBJ_FILE | h5f.OBJ_GROUP | h5f.OBJ_DATASET
    assert h5f.get_obj_count(h5f.OBJ_ALL, objects) == 0


@pytest.mark.parametrize("gone", [False, True], ids=["there", "gone"])
def test_images_are_parsed_under_a_lock_whether_h5py_names_its_own_or_not(path, monkeypatch, gone):
    if gone:
        monkeypatch.setitem(sys.modules, "h5py._objects", None)
    lock = image._h5py_lock()
    assert (lock is image._own_lock) == gone
    assert same(image.parse(path, memoryview(joined(ARRAYS))), ARRAYS)
    with lock, lock:  # a thread may take it twice
        assert same(image.parse(path, memoryview(joined(ARRAYS))), ARRAYS)
