"""The state of a memory of masks: what it keeps, and how it is looked at, moved and saved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Self

import torch
from torch import Tensor

from hopmask import storage
from hopmask._checks import check_whole, is_whole
from hopmask._precision import in_full_precision
from hopmask.couplings.dense import DenseCouplings
from hopmask.couplings.rules import LearningRule
from hopmask.errors import ConfigError, CueError, EmptyMemoryError
from hopmask.memory import health
from hopmask.memory.address import ContentAddress
from hopmask.memory.document import Parts, of_couplings
from hopmask.memory.health import LoadReport
from hopmask.memory.held import Held
from hopmask.patterns.joint_code import JointCode
from hopmask.patterns.layout import Masks, Size
from hopmask.storage import Document, Stamp


class MemoryState(Held):
    """What a `MaskMemory` keeps; see there for the arguments and attributes."""

    couplings: DenseCouplings

    def __init__(
        self,
        sizes: Mapping[str, Size],
        *,
        rule: str | LearningRule = "storkey",
        seed: int = 0,
        key_bits: int = 256,
        signature_features: int = 1024,
        dtype: torch.dtype = torch.float32,
        device: str | torch.device = "cpu",
        fingerprint: str = "",
    ) -> None:
        if not is_whole(seed, least=0) or seed >= 2**64:
            raise ConfigError(f"seed must be an integer from 0 to 2^64 - 1, got {seed!r:.40}")
        if not isinstance(fingerprint, str) or len(fingerprint) > 256:
            raise ConfigError("fingerprint must be a text of at most 256 characters")
        self.seed, self.key_bits, self.signature_features = seed, key_bits, signature_features
        self.fingerprint = fingerprint
        self.code = JointCode(sizes, seed=seed, key_bits=key_bits)
        self.numbered = 0
        self.couplings = DenseCouplings(self.code.size, rule=rule, dtype=dtype, device=device)
        self.address: ContentAddress | None = None
        if signature_features != 0:
            self.address = ContentAddress(
                self.code.keys, features=signature_features, dtype=dtype, device=device
            )

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of each layer -> shape of its mask."""
        return dict(self.code.layout.shapes)

    @property
    def rule(self) -> LearningRule:
        """The learning rule."""
        return self.couplings.rule

    @property
    def mean(self) -> Masks:
        """Mean of the masks stored, name -> levels in [0, 1]: (1 + μ)/2, ½ while there are none."""
        return self.code.layout.split((1 + self.couplings.mean) / 2)

    @property
    def nbytes(self) -> int:
        """Bytes of the state: Ψ, μ, the address's sums and counters; independent of `count`.

        Not in it, because they follow from the seed and the state: the address's random map,
        (length of a signature) × features, and its read-out, features × key bits.
        """
        return self.couplings.nbytes + (self.address.nbytes if self.address else 0)

    def __repr__(self) -> str:
        layers = ", ".join(f"{name} {shape}" for name, shape in self.shapes.items())
        return (
            f"MaskMemory({layers}; {self.count} tasks, rule '{self.rule.name}', "
            f"{self.couplings.size} spins, {self.nbytes / 1e6:.1f} MB on {self.device})"
        )

    def to(self, device: str | torch.device) -> Self:
        """Move the memory to a device, in place; returns it.

        Raises:
            ConfigError: there is no such device, or no room on it.

        Example:
            >>> from hopmask import MaskMemory
            >>> MaskMemory({"hidden": 256}).to("cpu").device
            device(type='cpu')
        """
        self.couplings.to(device)
        if self.address is not None:
            self.address.to(device)
        return self

    @in_full_precision
    def report(self, *, sample: int = 32) -> LoadReport:
        """Recall some tasks by their number and measure how safely the memory holds them.

        Args:
            sample: how many, spread evenly over the numbers given so far.

        Raises:
            EmptyMemoryError: nothing is stored.
            ConfigError: a sample below 1.

        Example:
            >>> from hopmask import MaskMemory
            >>> memory = MaskMemory({"hidden": 256})
            >>> memory.store({"hidden": torch.arange(256) % 3 == 0})
            0
            >>> memory.report().tasks
            1
        """
        check_whole(sample, "the sample of a report")
        self._require_tasks()
        return health.report_of(
            self.couplings, self.code, sample=sample, numbered=self.numbered, nbytes=self.nbytes
        )

    def overlap(self, states: Tensor, masks: Mapping[str, Tensor]) -> Tensor:
        """Overlap (1/n) Σ z z' of the mask bits of joint states with given masks.

        Args:
            states: ±1, (..., d), for example `hit.trace.states`.
            masks: name -> bool or {0, 1}, every layer.

        Returns:
            In [-1, 1], shape (...).

        Raises:
            MaskError: masks of a wrong name, size, type or value.
            CueError: states that are not this memory's.
        """
        body = self._body_of(masks)
        if not isinstance(states, Tensor) or states.ndim == 0 or not states.is_floating_point():
            raise CueError(
                "states must be a real floating tensor (..., d), such as hit.trace.states"
            )
        if states.shape[-1] != self.couplings.size:
            raise CueError(f"states have {states.shape[-1]} spins, not {self.couplings.size}")
        return (states[..., self.code.layout.body].to(body) @ body) / body.numel()

    def save(self, path: str | Path) -> Stamp:
        """Commit the memory to an HDF5 file, durably; its size never depends on `count`.

        A file that stood there and is whole stays beside it, as NAME.prev; any other is replaced.
        Where several processes store into one memory, use `hopmask.open_memory`: `save` puts this
        memory in the place of theirs. No other thread may store meanwhile.

        Returns:
            The file's generation and SHA-256.

        Raises:
            CommitFailedError, StoreLockedError: the file cannot be written now; it is as it was.
            StoreFileError: the path names no file, or the memory is larger than any file.
            NumericalError: it holds NaN or infinity; nothing was written.
        """
        return storage.write(path, self.document())

    def document(self) -> Document:
        """The memory as a document of `hopmask.storage`.

        Raises:
            StoreTooLargeError, NumericalError: as in `save`.
        """
        address = self.address
        about = {
            "layers": [[name, list(shape)] for name, shape in self.shapes.items()],
            "seed": self.seed,
            "key_bits": self.key_bits,
            "signature_features": self.signature_features,
            **({"fingerprint": self.fingerprint} if self.fingerprint else {}),
        }
        return of_couplings(
            self.couplings,
            kind="masks",
            about=about,
            counters=(self.numbered, address.length if address else 0),
            sums=address.sums if address else {},
        )

    @classmethod
    def of_parts(cls, parts: Parts) -> Self:
        """A memory of parts that were read from a document; `hopmask.load` is the public door.

        Raises:
            ConfigError: parts that do not fit together.
        """
        memory = cls(
            parts.layers,
            rule=parts.couplings.rule,
            seed=parts.seed,
            key_bits=parts.key_bits,
            signature_features=parts.signature_features,
            dtype=parts.couplings.dtype,
            device="meta",
            fingerprint=parts.fingerprint,
        )
        if memory.couplings.size != parts.couplings.size:
            raise ConfigError(
                f"its layers need {memory.couplings.size} spins, its matrix has "
                f"{parts.couplings.size}"
            )
        if parts.numbered < parts.couplings.count:
            raise ConfigError(
                f"it holds {parts.couplings.count} tasks, and gave out {parts.numbered} numbers"
            )
        memory.couplings, memory.numbered = parts.couplings, parts.numbered
        if memory.address is not None:
            memory.address.restore(parts.sums, length=parts.signature_length)
        elif parts.sums:
            raise ConfigError("it holds sums of a content address that it does not have")
        return memory

    def _require_tasks(self) -> None:
        if self.count == 0:
            raise EmptyMemoryError("nothing is stored yet: call store(...) before recall")

    def _body_of(self, masks: Mapping[str, Tensor]) -> Tensor:
        return self.code.layout.join(masks).to(self.couplings.mean)
