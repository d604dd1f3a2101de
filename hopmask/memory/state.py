"""The state of a memory of masks: what it keeps, and how it is looked at, moved and saved."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from hopmask import storage
from hopmask._checks import check_whole, is_whole
from hopmask._precision import in_full_precision
from hopmask.couplings.rules import LearningRule
from hopmask.errors import ConfigError, CueError, EmptyMemoryError
from hopmask.memory import dense_document, hub_document
from hopmask.memory.dense_masks import KEY_BITS, DenseMasks
from hopmask.memory.health import LoadReport
from hopmask.memory.held import Held
from hopmask.memory.hub_masks import HubMasks
from hopmask.patterns.layout import Masks, Size
from hopmask.storage import Document, Stamp


class MemoryState(Held):
    """What a `MaskMemory` keeps; see there for the arguments and attributes."""

    @torch.inference_mode(False)  # or the memory could not be changed outside of it
    def __init__(
        self,
        sizes: Mapping[str, Size],
        *,
        couplings: str = "dense",
        seed: int = 0,
        signature_features: int = 1024,
        device: str | torch.device = "cpu",
        fingerprint: str = "",
        rule: str | LearningRule | None = None,
        key_bits: int | None = None,
        dtype: torch.dtype | None = None,
        hubs: int | None = None,
        precision: str | None = None,
        signature_groups: int = 1,
        extras: Mapping[str, Size] | None = None,
    ) -> None:
        if not is_whole(seed, least=0) or seed >= 2**64:
            raise ConfigError(f"seed must be an integer from 0 to 2^64 - 1, got {seed!r:.40}")
        if not isinstance(fingerprint, str) or len(fingerprint) > 256:
            raise ConfigError("fingerprint must be a text of at most 256 characters")
        of_dense = {"rule": rule, "key_bits": key_bits, "dtype": dtype}
        of_hub = {
            "hubs": hubs,
            "precision": precision,
            "signature_groups": None if signature_groups == 1 else signature_groups,
            "extras": extras,
        }
        if couplings not in ("dense", "hub"):
            raise ConfigError(f"couplings must be 'dense' or 'hub', got {couplings!r:.40}")
        _refuse(couplings, of_hub if couplings == "dense" else of_dense)
        check_whole(signature_features, "signature_features", least=0)
        self.seed, self.signature_features = seed, signature_features
        self.fingerprint = fingerprint
        masks: DenseMasks | HubMasks
        if couplings == "dense":
            masks = DenseMasks(
                sizes,
                rule="storkey" if rule is None else rule,
                seed=seed,
                key_bits=KEY_BITS if key_bits is None else key_bits,
                signature_features=signature_features,
                dtype=torch.float32 if dtype is None else dtype,
                device=device,
            )
        else:
            masks = HubMasks(
                sizes,
                seed=seed,
                hubs=hubs,
                precision="auto" if precision is None else precision,
                extras=extras,
                signature_features=signature_features,
                signature_groups=signature_groups,
                device=device,
            )
        self._keep(masks)

    @classmethod
    def of(cls, masks: DenseMasks | HubMasks, *, fingerprint: str) -> Self:
        """A memory around masks that were read from a document; see `hopmask.load`."""
        memory = cls.__new__(cls)
        memory.seed, memory.fingerprint = masks.seed, fingerprint
        memory.signature_features = masks.address.features if masks.address else 0
        memory._keep(masks)
        return memory

    @property
    def numbered(self) -> int:
        """The largest task number given out so far, plus 1."""
        return self._masks.numbered

    @property
    def capacity(self) -> int | None:
        """Tasks that fit: the number of hubs; None for dense couplings, see `hopmask.capacity`."""
        return self._masks.capacity

    @property
    def tasks(self) -> tuple[int, ...]:
        """Numbers of the tasks held, in order.

        Raises:
            ConfigError: dense couplings, from which a task was forgotten: they do not know which.
        """
        return self._masks.tasks

    @property
    def key_bits(self) -> int | None:
        """Bits of a task's key; None for hub couplings, whose hubs carry it."""
        return self._masks.key_bits

    @property
    def signature_groups(self) -> int:
        """Groups that a task's samples may be of; 1 for dense couplings."""
        return self._masks.groups

    @property
    def rule_name(self) -> str:
        """Name of the learning rule."""
        return self._masks.couplings.rule_name

    @property
    def mean_extras(self) -> Masks:
        """Mean of the tasks' extras, name -> (*shape); empty where there are none."""
        return self._masks.mean_extras

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name of each layer -> shape of its mask."""
        return dict(self.code.layout.shapes)

    @property
    def rule(self) -> LearningRule:
        """The learning rule of dense couplings.

        Raises:
            ConfigError: hub couplings, which have one rule: see `rule_name`.
        """
        if not isinstance(self._masks, DenseMasks):
            raise ConfigError("hub couplings have one learning rule, Storkey's: see rule_name")
        return self._masks.couplings.rule

    @property
    def mean(self) -> Masks:
        """Mean of the masks stored, name -> levels in [0, 1]: (1 + μ)/2, ½ while there are none."""
        return self._masks.code.layout.split((1 + self._masks.mean) / 2)

    @property
    def nbytes(self) -> int:
        """Bytes of the state: couplings, the address's sums and counters; independent of `count`.

        Not in it, because they follow from the seed and the state: the address's random map,
        (length of a signature) × features, and its read-outs, features × key bits or hubs.
        """
        return self._masks.nbytes

    def __repr__(self) -> str:
        layers = ", ".join(f"{name} {shape}" for name, shape in self.shapes.items())
        return (
            f"MaskMemory({layers}; {self.count} tasks, rule '{self.rule_name}', "
            f"{self._about()}, {self.nbytes / 1e6:.1f} MB on {self.device})"
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
        self._masks.to(device)
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
        return self._masks.report(sample=sample, nbytes=self.nbytes)

    @in_full_precision
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
        body = self.code.layout.join(masks)
        if not isinstance(states, Tensor) or states.ndim == 0 or not states.is_floating_point():
            raise CueError(
                "states must be a real floating tensor (..., d), such as hit.trace.states"
            )
        if states.shape[-1] != self.code.size:
            raise CueError(f"states have {states.shape[-1]} spins, not {self.code.size}")
        shares: Tensor = states[..., self.code.layout.body].to(body) @ body / body.numel()
        return shares

    def save(self, path: str | Path, *, bits: int | None = None) -> Stamp:
        """Commit the memory to an HDF5 file, durably; its size never depends on `count`.

        A file that stood there and is whole stays beside it, as NAME.prev; any other is replaced.
        Where several processes store into one memory, use `hopmask.open_memory`: `save` puts this
        memory in the place of theirs. No other thread may store meanwhile.

        Args:
            path: the file.
            bits: of hub couplings: 1 to 4 bits per coupling, in a smaller file. Two were enough for
                every bit of 250 masks on 256 hubs; with one, a full memory loses bits. What is
                loaded from such a file recalls, and cannot be changed.

        Returns:
            The file's generation and SHA-256.

        Raises:
            CommitFailedError, StoreLockedError: the file cannot be written now; it is as it was.
            StoreFileError: the path names no file, or the memory is larger than any file.
            NumericalError: it holds NaN or infinity; nothing was written.
            ConfigError: bits of dense couplings, or a number of bits that there is not.
        """
        return storage.write(path, self.document(bits=bits))

    def document(self, *, bits: int | None = None) -> Document:
        """The memory as a document of `hopmask.storage`.

        Raises:
            StoreTooLargeError, NumericalError, ConfigError: as in `save`.
        """
        about = {
            "layers": [[name, list(shape)] for name, shape in self.shapes.items()],
            "seed": self.seed,
            "signature_features": self.signature_features,
            **({"fingerprint": self.fingerprint} if self.fingerprint else {}),
        }
        if isinstance(self._masks, HubMasks):
            return hub_document.document_of(self._masks, about, bits=bits)
        if bits is not None:
            raise ConfigError("bits= is of hub couplings: leave it out")
        return dense_document.of_masks(self._masks, about)

    def _keep(self, masks: DenseMasks | HubMasks) -> None:
        self._masks = masks
        self.couplings: Any = masks.couplings
        self.code: Any = masks.code
        self.address: Any = masks.address

    def _about(self) -> str:
        if isinstance(self._masks, HubMasks):
            return f"{self.code.size} mask neurons x {self.capacity} hubs"
        return f"{self.code.size} spins"

    def _require_tasks(self) -> None:
        if self.count == 0:
            raise EmptyMemoryError("nothing is stored yet: call store(...) before recall")


def _refuse(couplings: str, options: Mapping[str, object]) -> None:
    """Raise ConfigError for options of the other kind of couplings."""
    for name, value in options.items():
        if value is not None:
            other = "hub" if couplings == "dense" else "dense"
            raise ConfigError(
                f"{name} is of {other} couplings, got couplings='{couplings}': leave it out"
            )
