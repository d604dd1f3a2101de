"""Faults of files."""

from mutant_faults.fault import Fault

FAULTS = (
    # Files
    Fault(
        "file-not-synced",
        "hopmask/storage/commit.py",
        "        os.fsync(handle)\n    return header",
        "    return header",
    ),
    Fault(
        "folder-not-synced",
        "hopmask/storage/commit.py",
        "        sync_folder(path.parent)",
        "        pass",
    ),
    Fault(
        "changed-behind-the-lock",
        "hopmask/storage/commit.py",
        "if header_or_none(path) != before:",
        "if False:",
    ),
    Fault("damaged-kept", "hopmask/storage/commit.py", "if _is_whole(path):", "if path.exists():"),
    Fault(
        "two-states-hashed",  # one goes to the disk, another one into the digest
        "hopmask/storage/commit.py",
        "yield bytes(piece[at : at + PART])",
        "yield piece[at : at + PART]",
    ),
    Fault(
        "lock-shared",
        "hopmask/storage/system.py",
        "fcntl.LOCK_EX |",
        "fcntl.LOCK_SH |",
        also=("lock",),
    ),
    Fault(
        "lock-of-another-file",
        "hopmask/storage/lock.py",
        "if _lock(sidecar) and sidecar.in_place:",
        "if _lock(sidecar):",
    ),
    Fault(
        "payload-unverified",
        "hopmask/storage/container.py",
        "    if digest != header.digest:",
        "    if False:",
    ),
    Fault(
        "header-unverified",
        "hopmask/storage/container.py",
        "if hashlib.sha256(blank).digest() != block[_OWN]:",
        "if False:",
    ),
    Fault(
        "tail-allowed", "hopmask/storage/container.py", "if size > HEADER + length:", "if False:"
    ),
    Fault(
        "attributes-allowed",
        "hopmask/storage/image.py",
        "        and h5a.get_num_attrs(data) == 0\n",
        "",
    ),
    Fault(
        "overlap-allowed", "hopmask/storage/image.py", "if any(end > begin for", "if any(False for"
    ),
    Fault(
        "plugins-searched",
        "hopmask/storage/image.py",
        "        with _no_plugins():",
        "        if True:",
    ),
    Fault(
        "drafts-left",
        "hopmask/storage/writer.py",
        "    with locked(path, clear, wait=wait)",
        "    with locked(path, lambda process: None, wait=wait)",
    ),
    Fault(
        "stores-share-an-id",
        "hopmask/storage/writer.py",
        "else partial(Header, store=os.urandom(16))",
        "else partial(Header, store=bytes(16))",
        also=("memory/test_live",),
    ),
    Fault(
        "copies-in-one-line",
        "hopmask/storage/writer.py",
        "if self._sidecar and self._sidecar.noted(before.seal):",
        "if self._sidecar:",
        also=("memory/test_live",),
    ),
    Fault(
        "copied-sidecar-believed",
        "hopmask/storage/sidecar.py",
        "return own and seal",
        "return seal",
        also=("memory/test_live",),
    ),
    Fault(
        "memory-ahead-of-file",
        "hopmask/memory/live.py",
        "            self._memory = None  # if anything",
        "            # if anything",
    ),
    Fault(
        "written-over-another-state",
        "hopmask/memory/live.py",
        "memory.document(), after=self._stamp)",
        "memory.document())",
    ),
    Fault(
        "back-unnoticed",
        "hopmask/storage/document.py",
        "later = self.generation > before.generation",
        "later = True",
        also=("memory/test_live",),
    ),
)
