"""The main paths of supsup_bridge on the pretended device, against the same on the CPU."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from hopmask import MaskMemory
from supsup_bridge import (
    FixedNetwork,
    MaskBank,
    MaskedNetwork,
    OneShot,
    RecallInference,
    StagedMemory,
    Task,
    TaskAgnosticLearner,
    TrainingSettings,
    UnitNetwork,
    entropy,
    fix_weights,
    mlp,
    superfluous,
    train_mask,
    train_masks,
)
from supsup_bridge.continual.task_agnostic.novelty import (
    NoveltyTest,
)
from supsup_bridge.continual.task_agnostic.staged_inference import (
    RecallNovelty,
    StagedInference,
)
from supsup_bridge.inference.base import (
    Inferred,
)
from supsup_bridge.inference.exhaustive import (
    ArgmaxLogits,
    TryAll,
)
from supsup_bridge.inference.gradient import (
    Binary,
    Descent,
)
from supsup_bridge.inference.paper import (
    PaperInference,
)
from supsup_bridge.inference.signatures import SIGNATURES, pixels, signature_named
from supsup_bridge.networks.digests import mask_digest
from supsup_bridge.runs.evaluation import Scorer, Scores
from supsup_bridge.runs.timing import Stopwatch
from supsup_bridge.training.trainer import (
    MaskTrainer,
)

Same = Callable[..., None]
KINDS = ("weight", "unit", "hashed", "conv", "batch norm", "layer", "batch")
QUICK = TrainingSettings(epochs=2, batch=8, rate=0.05)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _network(kind: str, device: torch.device) -> FixedNetwork:
    """A small network of 6 inputs and 4 outputs, on the device."""
    if kind in ("layer", "batch"):
        return UnitNetwork([6, 64, 4], network=_generator(0), normalisation=kind).to(device)
    if kind == "conv":
        parts = [nn.Unflatten(1, (1, 2, 3)), nn.Conv2d(1, 4, 2), nn.ReLU(), nn.Flatten()]
        module: nn.Module = nn.Sequential(*parts, nn.Linear(8, 4))
    elif kind == "batch norm":
        module = nn.Sequential(nn.Linear(6, 24), nn.BatchNorm1d(24), nn.ReLU(), nn.Linear(24, 4))
    else:
        module = mlp([6, 24, 4])
    fix_weights(module, _generator(0))
    if kind == "hashed":
        return MaskedNetwork(module, masks="hashed", bits=96, spread=_generator(1)).to(device)
    return MaskedNetwork(module, masks="unit" if kind == "unit" else "weight").to(device)


def _masks(network: FixedNetwork, seed: int, device: torch.device) -> dict[str, Tensor]:
    generator = _generator(seed)
    return {
        name: (torch.rand(size, generator=generator) < 0.5).to(device)
        for name, size in network.mask_sizes.items()
    }


def _images(seed: int, device: torch.device, count: int = 16) -> Tensor:
    generator = _generator(200 + seed)
    centre = 2 * torch.randn(1, 6, generator=generator)
    return (centre + torch.randn(count, 6, generator=generator)).to(device)


def _labels(seed: int, device: torch.device) -> Tensor:
    return (_images(seed, torch.device("cpu"))[:, 0] > 0).long().to(device)


def _bank(network: FixedNetwork, device: torch.device, tasks: int = 5) -> MaskBank:
    bank = MaskBank(network.mask_sizes, device=device)
    for task in range(tasks):
        bank.store(_masks(network, task, device))
    return bank


def _memory(network: FixedNetwork, device: torch.device, tasks: int = 3) -> MaskMemory:
    memory = MaskMemory(network.mask_sizes, key_bits=64, signature_features=64, device=device)
    for task in range(tasks):
        memory.store(_masks(network, task, device), signature=_images(task, device))
    return memory


def _sets(device: torch.device) -> Tensor:
    """Three sets of four images each."""
    return torch.stack([_images(task, device, 4) for task in (1, 0, 2)])


def _flat(found: Inferred) -> dict[str, Any]:
    parts = {name: getattr(found, name) for name in ("task", "steps", "verified")}
    return parts | {f"masks {name}": mask for name, mask in found.masks.items()}


class TestNetworks:
    @pytest.mark.parametrize("kind", KINDS)
    def test_forward(self, same: Same, kind: str) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            network = _network(kind, device)
            one = {name: mask.float() for name, mask in _masks(network, 0, device).items()}
            two = {name: torch.stack([mask, 1 - mask]) for name, mask in one.items()}
            images = _images(0, device)
            return {
                "one": network(images, one),
                "two": network(images.expand(2, -1, -1), two),
            }

        same(make, close=True)

    @pytest.mark.parametrize("kind", KINDS)
    def test_predictor(self, same: Same, kind: str) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            network = _network(kind, device)
            predict = network.predictor(_masks(network, 0, device), _images(1, device))
            return {"logits": predict(_images(0, device))}

        same(make, close=True)

    @pytest.mark.parametrize("masks", ["weight", "signed", "unit", "hashed"])
    def test_of_a_module_on_the_device(self, same: Same, masks: str) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            module = fix_weights(mlp([6, 24, 4]), _generator(0)).to(device)
            network = MaskedNetwork(module, masks=masks)
            logits = network(_images(0, device), _masks(network, 0, device))
            return {"logits": logits}

        same(make)

    def test_weights_drawn_on_the_device(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            module = nn.Linear(6, 4).to(device)
            return dict(fix_weights(module, _generator(0)).named_parameters())

        same(make)

    def test_norm_without_statistics_on_the_device(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            norm = nn.BatchNorm1d(24, track_running_stats=False)
            module = nn.Sequential(nn.Linear(6, 24), norm, nn.ReLU(), nn.Linear(24, 4))
            network = MaskedNetwork(fix_weights(module, _generator(0)).to(device))
            predict = network.predictor(_masks(network, 0, device), _images(1, device))
            return {"logits": predict(_images(0, device))}

        same(make)

    @pytest.mark.parametrize("name", SIGNATURES)
    def test_signatures(self, same: Same, name: str) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            signature = signature_named(name, _network("layer", device))
            return {"of sets": signature(_sets(device))}

        same(make, close=True)


class TestTraining:
    @pytest.mark.parametrize(
        ("kind", "sparsity"), [*((kind, None) for kind in KINDS), ("weight", 0.25)]
    )
    def test_train_mask(self, same: Same, kind: str, sparsity: float | None) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            settings = TrainingSettings(epochs=2, batch=8, diluted_every=2, sparsity=sparsity)
            network, data = _network(kind, device), (_images(0, device), _labels(0, device))
            return train_mask(network, *data, settings, generator=_generator(1))

        same(make)

    @pytest.mark.parametrize("changes", [{}, {"mixup": 0.5, "sparsity": 0.25, "contrast": 0.0}])
    def test_train_masks(self, same: Same, changes: dict[str, Any]) -> None:
        """On a device their images are gathered there, and losses are read in bunches."""

        def make(device: torch.device) -> dict[str, Any]:
            settings = TrainingSettings(epochs=2, batch=8, diluted_every=2, **changes)
            data = [(_images(task, device), _labels(task, device)) for task in range(3)]
            streams, losses = [_generator(task) for task in range(3)], list[float]()
            found = train_masks(
                _network("weight", device),
                data,
                settings,
                generators=streams,
                progress=lambda step, now: losses.extend(now),
            )
            masks = {f"{n} {name}": m for n, masks in enumerate(found) for name, m in masks.items()}
            return {"losses": losses, **masks}

        same(make)

    @pytest.mark.parametrize("optimiser", ["adam", "sgd"])
    def test_steps_without_a_known_end(self, same: Same, optimiser: str) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            network = _network("hashed", device)
            settings = TrainingSettings(optimiser=optimiser)
            mean = {name: mask.float() for name, mask in _masks(network, 3, device).items()}
            streams = {"scores": _generator(1), "noise": _generator(2)}
            trainer = MaskTrainer(network, settings, **streams, mean=mean, device=device)
            losses = [trainer.step(_images(0, device), _labels(0, device)) for _ in range(3)]
            again = MaskTrainer(network, settings, **streams, device=device)
            again.restore(trainer.state())
            losses.append(again.step(_images(0, device), _labels(0, device)))
            return {"losses": losses, **again.masks()}

        same(make)

    def test_the_device_follows_the_network(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            network = _network("hashed", device)
            streams = {"scores": _generator(1), "noise": _generator(2)}
            trainer = MaskTrainer(network, QUICK, **streams)
            trainer.step(_images(0, device), _labels(0, device))
            return trainer.masks()

        same(make)


class TestBank:
    def test_store_replace_recall(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            network = _network("weight", device)
            bank = _bank(network, device)
            bank.replace(1, _masks(network, 9, device))
            found = {f"recalled {n}": m for n, m in bank.recall(task=1).masks.items()}
            return {**bank.mean, **found}

        same(make)

    @pytest.mark.parametrize("rows", [0, 3, 12])
    def test_scores_and_superpose(self, same: Same, rows: int) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            network = _network("weight", device)
            bank, batch = _bank(network, device), (rows,) if rows else ()
            generator = _generator(4)
            gradient = {
                name: torch.randn(*batch, *shape, generator=generator).to(device)
                for name, shape in bank.shapes.items()
            }
            weights = torch.rand(*batch, bank.count, generator=generator).to(device)
            return {"scores": bank.scores(gradient), **bank.superpose(weights)}

        same(make, close=True)

    def test_save_and_load(self, same: Same, tmp_path: Path) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            network = _network("weight", device)
            _bank(network, device).save(tmp_path / "bank.h5")
            again = MaskBank.load(tmp_path / "bank.h5", device=device)
            again.store(_masks(network, 9, device))
            return {**again.mean, **{f"2 {n}": m for n, m in again.recall(task=2).masks.items()}}

        same(make)


class TestInference:
    @pytest.mark.parametrize(
        ("way", "kind"),
        [
            (OneShot, "hashed"),
            (OneShot, "batch"),
            (Binary, "conv"),
            (Descent, "hashed"),
            (TryAll, "conv"),
            (TryAll, "batch"),
        ],
    )
    def test_over_a_bank(self, same: Same, kind: str, way: Any) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            network = _network(kind, device)
            return _flat(way(network=network, bank=_bank(network, device)).infer(_sets(device)))

        same(make)

    def test_by_the_largest_logit(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            network = _network("layer", device)
            bank = _bank(network, device)
            return _flat(ArgmaxLogits(network=network, bank=bank, labels=2).infer(_sets(device)))

        same(make)

    def test_by_superfluous_outputs(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            network = _network("layer", device)
            bank, objective = _bank(network, device), lambda y: superfluous(y, labels=2)
            one_shot = OneShot(network=network, bank=bank, objective=objective)
            return _flat(one_shot.infer(_sets(device)))

        same(make)

    @pytest.mark.parametrize(
        ("recall", "kind"),
        [("both", "hashed"), ("both", "batch"), ("entropy", "conv"), ("address", "conv")],
    )
    def test_by_recall(self, same: Same, kind: str, recall: str) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            network = _network(kind, device)
            memory = _memory(network, device)
            inference = RecallInference(network=network, memory=memory, recall=recall, max_basins=2)
            return _flat(inference.infer(_sets(device)))

        same(make)

    def test_a_traced_recall(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            network = _network("hashed", device)
            inference = RecallInference(network=network, memory=_memory(network, device))
            _, trace = inference.trace(_images(1, device, 4))
            return {name: getattr(trace, name) for name in ("basin", "energy", "states")}

        same(make, close=True)

    def test_by_the_papers_recall(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            network = _network("batch", device)
            memory, drawn = _memory(network, device), _generator(3)
            paper = PaperInference(
                network=network, memory=memory, generator=drawn, steps=4, batch=5
            )
            sets = paper.sets(_images(1, device), sets=2, samples=5, generator=_generator(4))
            return _flat(paper.infer(sets))

        same(make)


class TestContinual:
    @pytest.mark.parametrize("tasks", [1, 3])
    def test_novelty(self, same: Same, tasks: int) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            network = _network("hashed", device)
            bank = _bank(network, device, tasks)
            test = NoveltyTest(network=network, bank=bank, objective=entropy)
            verdict = test.judge(_images(1, device))
            return {"mask": verdict.mask, "new": verdict.new, "blind": verdict.blind}

        same(make)

    @pytest.mark.parametrize("store", ["bank", "memory"])
    def test_a_learner_without_boundaries(self, same: Same, store: str) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            network = _network("hashed", device)
            test, observe = _novelty(network, store, device)
            learner = TaskAgnosticLearner(
                test,
                QUICK,
                ask_every=2,
                budget=3,
                transfer=True,
                scores=_generator,
                noise=_generator,
                trained=observe,
            )
            served = [
                learner.learn(_images(task, device), _labels(task, device))
                for task in (0, 0, 0, 0, 1, 1, 2, 2, 0, 0)
            ]
            learner.commit()
            learner.restore(learner.state(), device=device)
            return {"masks": [mask for mask, _ in served], **test.store.mean}

        same(make)

    def test_inference_beside_an_open_mask(self, same: Same) -> None:
        def make(device: torch.device) -> dict[str, Any]:
            network = _network("hashed", device)
            staged, inference = _staged(network, device)
            for task in range(3):
                staged.store(_masks(network, task, device))
                staged.observe(_images(task, device))
            staged.replace(2, _masks(network, 7, device))
            return _flat(inference.infer(_sets(device))) | staged.mean

        same(make)


class TestScorer:
    @pytest.mark.parametrize(
        ("scenario", "store"), [("GG", "memory"), ("GNu", "bank"), ("GNs", "memory")]
    )
    def test_scores(self, same: Same, scenario: str, store: str) -> None:
        cpu = torch.device("cpu")
        task = Task(
            name="task",
            train_images=_images(1, cpu),
            train_labels=_labels(1, cpu),
            inference_images=_images(1, cpu),
            scored_images=_images(1, cpu).repeat(9, 1),
            scored_labels=_labels(1, cpu).repeat(9),
        )

        def make(device: torch.device) -> dict[str, Any]:
            network = _network("hashed", device)
            held: Any
            if store == "bank":
                held = _bank(network, device, 3)
                inference: Any = OneShot(network=network, bank=held)
            else:
                held = _memory(network, device)
                inference = RecallInference(network=network, memory=held)
            watch = Stopwatch("recall", "evaluate")
            scorer = Scorer(network=network, scenario=scenario, device=device, watch=watch)
            accuracy, found = scorer.score(
                task,
                known=held.recall(task=1),
                accepted={1: mask_digest(_masks(network, 1, device))},
                inference=inference,
                samples=4,
                generator=_generator(5),
            )
            scores = Scores()
            scores.add(0, accuracy, found)
            figures = {name: value for name, value in scores.figures().items() if value is not None}
            return {"accuracy": accuracy, "steps": found.steps, **figures}

        same(make)


def _staged(network: FixedNetwork, device: torch.device) -> tuple[StagedMemory, StagedInference]:
    memory = MaskMemory(network.mask_sizes, key_bits=64, signature_features=64, device=device)
    staged = StagedMemory(memory, signature=pixels)
    return staged, StagedInference(RecallInference(network=network, memory=memory), staged)


def _novelty(
    network: FixedNetwork, store: str, device: torch.device
) -> tuple[Any, Callable[[Tensor], None]]:
    if store == "bank":
        bank = MaskBank(network.mask_sizes, device=device)
        return NoveltyTest(
            network=network, bank=bank, objective=entropy
        ), lambda images, labels: None
    staged, inference = _staged(network, device)
    return RecallNovelty(inference), staged.observe
