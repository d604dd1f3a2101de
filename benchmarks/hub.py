"""The hub memory by itself: exactness, damage, time beside the time to read A, and scale.

    python benchmarks/hub.py [--rows speed wide damage scale ablation] [--quick]

Masks are random, of 315,200 bits (LeNet 300-100 with 500 outputs) where a row does not say
otherwise, and overlap by 0.136 on average, as learned ones of PermutedMNIST do. `hub.json` holds
one list of rows for each name. Times are ratios to the time to read A once, in the same process, in
seconds of the processor: other work may run beside it.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from common import write_json
from torch import Tensor

from hopmask import MaskMemory, Search
from hopmask.couplings import integer_products
from hopmask.patterns.hadamard import OrthogonalKeys
from hopmask.patterns.layout import Masks
from hopmask.recall.result import Hit

BITS, OVERLAP = 315_200, 0.136
OUT = Path(__file__).with_name("hub.json")
_DIGITS = 2  # of a gradient, as most recalls by data take them


def masks(count: int, bits: int, *, seed: int = 0, overlap: float = OVERLAP) -> Tensor:
    """Random masks that overlap by (1/d) Σ z z' = q on average: bool (count, bits)."""
    generator = torch.Generator().manual_seed(seed)
    bias = overlap**0.5 * (1 - 2 * torch.randint(0, 2, (bits,), generator=generator))
    return torch.rand(count, bits, generator=generator) < (1 + bias) / 2


def filled(count: int, hubs: int, bits: int) -> tuple[MaskMemory, Tensor]:
    """A memory of so many tasks, and their masks."""
    memory = MaskMemory({"m": bits}, couplings="hub", hubs=hubs, signature_features=0)
    patterns = masks(count, bits)
    for mask in patterns:
        memory.store({"m": mask})
    return memory, patterns


def best_of(calls: Mapping[str, Callable[[], object]], times: int) -> dict[str, float]:
    """Seconds of the processor that the fastest of some rounds takes for each call, in turns."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(1 + times):
        for name, call in calls.items():
            start = time.process_time()
            call()
            taken[name].append(time.process_time() - start)
    return {name: min(seconds[1:]) for name, seconds in taken.items()}


def speed(quick: bool) -> list[dict[str, Any]]:
    """Products, store, forget and recalls at 250 tasks, beside reading A."""
    bits, hubs, count = (8192, 32, 30) if quick else (BITS, 256, 250)
    memory = MaskMemory({"m": bits}, couplings="hub", hubs=hubs)
    patterns = masks(count, bits)
    signatures = torch.randn(count, 32, generator=torch.Generator().manual_seed(6))
    for mask, signature in zip(patterns, signatures, strict=True):
        memory.store({"m": mask}, signature=signature)
    couplings = memory.couplings
    words, written = couplings.narrow.view(torch.int64), couplings.narrow.clone()
    gradient = torch.randn(1, bits, generator=torch.Generator().manual_seed(1))
    extra = masks(1, bits, seed=2)[0]
    seconds = best_of(
        {
            "read": words.sum,
            "copy": lambda: written.copy_(couplings.narrow),
            "gradient": lambda: couplings.overlaps(gradient, digits=_DIGITS),
            "store": lambda: memory.store({"m": extra}, task=hubs - 1),
            "forget": lambda: memory.forget(hubs - 1),
            "one": lambda: memory.recall(0),
            "eight": lambda: memory.recall([*range(8)]),
        },
        30,
    )
    read, copy = seconds["read"], seconds["copy"]
    batch, alone = min(128, count), 8
    speedup = {}
    for way, call in recalls(memory, patterns[:batch], signatures[:batch]).items():
        both = best_of(
            {
                "alone": lambda call=call: [call(slice(row, row + 1)) for row in range(alone)],
                "together": lambda call=call: call(slice(0, batch)),
            },
            2,
        )
        speedup[way] = both["alone"] / alone / (both["together"] / batch)
    return [
        {
            "bits": bits,
            "hubs": hubs,
            "tasks": count,
            "threads": torch.get_num_threads(),
            "seconds_read": read,
            "seconds_read_and_write": copy,
            "gradient_over_read": seconds["gradient"] / read,
            "gradient_over_read_per_digit": seconds["gradient"] / read / _DIGITS,
            "store_over_read_and_write": seconds["store"] / copy,
            "forget_over_read_and_write": seconds["forget"] / copy,
            "recall_one_over_read": seconds["one"] / read,
            "recall_eight_over_read": seconds["eight"] / read,
            "recalls_in_one_call": batch,
            "one_by_one_over_one_call": speedup,
            "right": bool((memory.recall([*range(8)]).masks["m"] == patterns[:8]).all()),
        }
    ]


def wide(quick: bool) -> list[dict[str, Any]]:
    """Products of gradients with int16 couplings: as they are made, and by digits of entries."""
    bits, hubs, count = (4096, 512, 30) if quick else (65_536, 4096, 101)
    memory = MaskMemory({"m": bits}, couplings="hub", hubs=hubs, signature_features=0)
    for mask in masks(count, bits):
        memory.store({"m": mask})
    couplings = memory.couplings
    words = couplings.narrow.view(torch.int64)
    generator = torch.Generator().manual_seed(1)
    rows = []
    for vectors in (8, 40, 240):
        given = torch.randn(vectors, bits, generator=generator)

        def product(given: Tensor = given) -> Tensor:
            return couplings.overlaps(given, digits=_DIGITS)

        def by_digits(product: Callable[[], Tensor] = product) -> Tensor:
            with patch.object(integer_products, "halves", lambda tile: None):
                return product()

        seconds = best_of({"read": words.sum, "product": product, "digits": by_digits}, 3)
        row = {"bits": bits, "hubs": hubs, "tasks": count, "vectors": vectors}
        row |= {f"{way}_over_read": seconds[way] / seconds["read"] for way in ("product", "digits")}
        rows.append({**row, "same": torch.equal(product(), by_digits())})
    return rows


def recalls(
    memory: MaskMemory, patterns: Tensor, signatures: Tensor
) -> dict[str, Callable[[slice], Hit]]:
    """Recalls of some of the first tasks in one call, by name: by number, and by data.

    `gradients` takes the candidate to which the gradient points, `penalty` compares eight. The
    penalty is the product of a mask with a noisy one: the least that depends on every bit. Its
    time, which is the caller's, and that of the masks as floats that it takes, are counted.
    """
    generator = torch.Generator().manual_seed(4)
    noisy = patterns.float() * 2 - 1 + 5 * torch.randn(patterns.shape, generator=generator)
    bits = patterns.shape[1]

    def penalty(rows: slice) -> Callable[[Masks], Tensor]:
        return lambda masks: -(masks["m"] * noisy[rows]).sum(-1) / bits

    def by_penalty(rows: slice, candidates: int) -> Hit:
        search = Search(max_basins=candidates)
        size = len(noisy[rows])
        return memory.recall(penalty=penalty(rows), batch=size, search=search)

    return {
        "number": lambda rows: memory.recall([*range(rows.start, rows.stop)]),
        "gradients": lambda rows: by_penalty(rows, 1),
        "penalty": lambda rows: by_penalty(rows, 8),
        "signature": lambda rows: memory.recall(signature=signatures[rows]),
    }


def damage(quick: bool) -> list[dict[str, Any]]:
    """Masks recalled from 40 % flipped bits, 0.2 % known bits, and all but one of two layers."""
    bits, hubs = (8192, 32) if quick else (BITS, 256)
    rows = []
    for load_of in (0.25, 0.5, 1.0):
        count = int(load_of * hubs)
        memory = MaskMemory(
            {"first": bits // 2, "second": bits // 2},
            couplings="hub",
            hubs=hubs,
            signature_features=0,
        )
        patterns = masks(count, bits)
        halves = patterns[:, : bits // 2], patterns[:, bits // 2 :]
        for first, second in zip(*halves, strict=True):
            memory.store({"first": first, "second": second})
        generator = torch.Generator().manual_seed(3)
        right = {"flipped": 0, "known": 0, "missing": 0}
        for chosen in torch.arange(count).split(32):
            whole = patterns[chosen].float()
            coin = torch.rand(whole.shape, generator=generator)
            cues = {
                "flipped": torch.where(coin < 0.4, 1 - whole, whole),
                "known": torch.where(coin < 0.002, whole, torch.full_like(whole, 0.5)),
            }
            for name, cue in cues.items():
                parts = {"first": cue[:, : bits // 2], "second": cue[:, bits // 2 :]}
                right[name] += int((memory.recall(cue=parts).task == chosen).sum())
            cue = {"first": whole[:, : bits // 2]}
            right["missing"] += int((memory.recall(cue=cue).task == chosen).sum())
        rows.append(
            {
                "bits": bits,
                "hubs": hubs,
                "load": load_of,
                "exact_from_40_percent_flipped": right["flipped"] / count,
                "exact_from_0.2_percent_known": right["known"] / count,
                "exact_from_one_of_two_layers": right["missing"] / count,
            }
        )
    return rows


_SCALE = """
import json, resource, sys, tempfile, time
import torch
sys.path.insert(0, sys.argv[4])
from hub import masks
from hopmask import MaskMemory, Search

bits, hubs, count = map(int, sys.argv[1:4])
def peak():
    for line in open("/proc/self/status"):
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
before = peak()
memory = MaskMemory({"m": bits}, couplings="hub", hubs=hubs, signature_features=0)
seconds = 0.0
for task in range(count):
    mask = masks(1, bits, seed=task)[0]
    start = time.perf_counter()
    memory.store({"m": mask})
    seconds += time.perf_counter() - start
stored = peak()
with tempfile.TemporaryDirectory(dir=sys.argv[5]) as folder:
    start = time.perf_counter()
    stamp = memory.save(folder + "/memory.h5")
    saving = time.perf_counter() - start
saved = peak()
right = 0
for first in range(0, count, 50):
    tasks = [*range(first, min(first + 50, count))]
    found = memory.recall(tasks)
    wanted = torch.stack([masks(1, bits, seed=task)[0] for task in tasks])
    right += int(((found.masks["m"] == wanted).all(-1) & found.verified).sum())
couplings = memory.couplings
size = couplings.narrow.nbytes + couplings.wide.nbytes
print(json.dumps({
    "bits": bits, "hubs": hubs, "tasks": count, "bytes_of_couplings": size,
    "exact_by_number": right, "seconds_per_store": seconds / count, "seconds_to_save": saving,
    "peak_over_couplings_while_storing": (stored - before) / size,
    "peak_over_couplings_while_saving": (saved - before) / size,
    "file": stamp.nbytes,
}))
"""


def scale(quick: bool) -> list[dict[str, Any]]:
    """2,500 tasks on 4,096 hubs, in a process of its own whose peak memory is measured."""
    sizes = (4096, 64, 50) if quick else (BITS, 4096, 2500)
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", _SCALE, *map(str, sizes), str(here), str(here.parent)],
        check=True,
        capture_output=True,
        text=True,
    )
    return [json.loads(done.stdout)]


def ablation(quick: bool) -> list[dict[str, Any]]:
    """Keys and rules: wrong bits per mask by number, and by sign dynamics on the hubs, small masks.

    Random keys under Hebb, Storkey and projection (`LearningRule` on the joint vector of key and
    mask, restricted to the couplings between them) beside orthogonal keys, with and without the
    hub-side term of Storkey's rule, A ← A + z κᵀ − h κᵀ − z gᵀ with g = Aᵀz / D.
    """
    bits, hubs, counts = (512, 32, (8, 16)) if quick else (4000, 128, (32, 64, 120))
    rows = []
    for count in counts:
        patterns = masks(count, bits).double() * 2 - 1
        generator = torch.Generator().manual_seed(5)
        random = (torch.randint(0, 2, (count, hubs), generator=generator) * 2 - 1).double()
        orthogonal = OrthogonalKeys(seed=0, born=hubs).of(torch.arange(count), hubs=hubs).double()
        for name, keys in (("orthogonal", orthogonal), ("random", random)):
            for rule in ("hebb", "storkey", "storkey with the hub-side term", "projection"):
                found = learned(patterns, keys, rule)
                wrong = ((keys @ found.T) * patterns <= 0).sum(-1).double()
                fixed = (torch.sign(patterns @ found) == keys).all(-1)
                rows.append(
                    {
                        "bits": bits,
                        "hubs": hubs,
                        "tasks": count,
                        "keys": name,
                        "rule": rule,
                        "wrong_bits_by_number": float(wrong.mean()),
                        "fixed_points_of_sign_dynamics": int(fixed.sum()),
                        "task_from_mask_by_winner": float(
                            ((patterns @ found @ keys.T).argmax(-1) == torch.arange(count))
                            .double()
                            .mean()
                        ),
                    }
                )
    return rows


def learned(patterns: Tensor, keys: Tensor, rule: str) -> Tensor:
    """A (D, K) in float64 after all patterns, one after the other."""
    hubs, size = keys.shape[1], patterns.shape[1]
    found = torch.zeros(size, hubs, dtype=torch.float64)
    inverse = torch.zeros(hubs, hubs, dtype=torch.float64)  # projector on the keys so far
    for z, key in zip(patterns, keys, strict=True):
        onto, back = found @ key / hubs, found.T @ z / size
        if rule == "projection":
            rest = key - inverse @ key
            inverse += torch.outer(rest, rest) / (rest @ rest)
            found += torch.outer(z - onto, rest) * hubs / (rest @ rest)
        else:
            found += torch.outer(z, key)
            if rule != "hebb":
                found -= torch.outer(onto, key)
            if rule.endswith("term"):
                found -= torch.outer(z, back)
    return found


ROWS: dict[str, Callable[[bool], list[dict[str, Any]]]] = {
    "speed": speed,
    "wide": wide,
    "damage": damage,
    "scale": scale,
    "ablation": ablation,
}


def main() -> None:
    """Measure the rows asked for and put them into the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", nargs="+", choices=[*ROWS], default=[*ROWS])
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that it runs")
    options = parser.parse_args()
    known = json.loads(options.out.read_text()) if options.out.exists() else {}
    for name in options.rows:
        known[name] = ROWS[name](options.quick)
        for row in known[name]:
            print(name, json.dumps(row), flush=True)
        write_json(options.out, known)


if __name__ == "__main__":
    main()
