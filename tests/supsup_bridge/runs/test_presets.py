"""Defaults of each benchmark: complete, buildable, and chosen by name."""

import re
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch

from hopmask import ConfigError
from supsup_bridge import RunSettings, TrainingSettings
from supsup_bridge.data.benchmarks import BENCHMARKS, default_classes
from supsup_bridge.inference.named import INFERENCES
from supsup_bridge.inference.objectives import OBJECTIVES
from supsup_bridge.networks.masked import MASKS, PER_WEIGHT
from supsup_bridge.networks.registry import NETWORKS, build
from supsup_bridge.runs.presets import preset, resolved

DIGITS = ("split-digits", "split-mnist", "permuted-mnist", "rotated-mnist")
KINDS = [*product(DIGITS, MASKS), *((name, "weight") for name in BENCHMARKS if name not in DIGITS)]
SHAPES = {"lenet-300-100": 64, "fc-1024-1024": 64, "layer-norm": 64}  # others take pictures


def test_every_benchmark_has_a_preset_for_each_kind_of_mask() -> None:
    for name, masks in KINDS:
        chosen = preset(name, masks)
        assert isinstance(chosen.training, TrainingSettings)
        assert chosen.network in NETWORKS
        assert chosen.inference in INFERENCES
        assert chosen.objective in OBJECTIVES
        assert chosen.outputs >= 2
        assert chosen.features >= 0
        assert chosen.infer_samples >= 1


@pytest.mark.parametrize(("name", "masks"), KINDS)
def test_every_preset_can_be_built(name: str, masks: str, generator) -> None:
    chosen = preset(name, masks)
    network = build(
        chosen.network,
        masks=masks,
        inputs=SHAPES.get(chosen.network, (3, 32, 32)),
        outputs=chosen.outputs,
        bits=chosen.bits,
        weights=generator(0),
        spread=generator(1),
    )
    assert network.outputs == chosen.outputs
    if masks not in PER_WEIGHT:
        assert set(network.mask_sizes.values()) == {chosen.bits}


@pytest.mark.parametrize(
    ("settings", "recall"),
    [
        ({}, "posterior"),
        ({"recall": "entropy"}, "entropy"),
        ({"objective": "H"}, "both"),
        ({"scenario": "NNs"}, "both"),
        ({"masks": "hashed"}, "both"),
        ({"masks": "hashed", "recall": "address"}, "address"),
        ({"benchmark": "split-mnist", "masks": "unit", "network": "paper"}, "paper"),
        ({"benchmark": "permuted-mnist"}, "both"),
        ({"benchmark": "split-cifar100"}, "posterior"),
        ({"benchmark": "split-cifar100", "classes_per_task": 1}, "both"),
    ],
    ids=str,
)
def test_classes_are_weighed_where_the_address_knows_them(
    settings: dict[str, Any], recall: str
) -> None:
    assert resolved(RunSettings(**settings)).recall == recall


@pytest.mark.parametrize("settings", [{"masks": "hashed"}, {"benchmark": "permuted-mnist"}])
def test_no_classes_are_weighed_where_the_address_knows_none(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="posterior"):
        resolved(RunSettings(recall="posterior", **settings))


@pytest.mark.parametrize("masks", ["unit", "weight"])
def test_by_protocol_image_one_image_infers(masks: str) -> None:
    assert resolved(RunSettings(masks=masks, protocol="image")).infer_samples == 1


def test_every_preset_with_objective_g_has_superfluous_outputs() -> None:
    for name, masks in KINDS:
        chosen = preset(name, masks)
        labels = default_classes(name) or (2 if name.startswith("split") else 10)
        assert chosen.outputs > labels if chosen.objective == "G" else chosen.outputs >= labels


def test_the_papers_network_has_the_papers_sizes_and_training() -> None:
    paper = preset("split-mnist", "unit", "paper")
    assert (paper.network, paper.bits, paper.outputs) == ("paper", 2048, 10)
    assert paper.features == 0
    assert paper.infer_samples == 64
    assert paper.training == TrainingSettings(
        epochs=1, batch=128, optimiser="sgd", rate=0.1, contrast=0
    )


@pytest.mark.parametrize("network", ["lenet-300-100", "fc-1024-1024", "package.module:function"])
def test_any_other_network_goes_with_the_standard_preset(network: str) -> None:
    assert preset("split-mnist", "weight", network) == preset("split-mnist", "weight")


def test_weight_presets_serve_both_memories() -> None:
    chosen = {name: preset(name, "weight") for name in DIGITS}
    assert {name: each.features for name, each in chosen.items()} == {
        "split-digits": 1024,
        "split-mnist": 4096,
        "permuted-mnist": 2048,
        "rotated-mnist": 2048,
    }


def test_one_image_infers_a_task_of_any_but_unit_masks() -> None:
    for name, masks in KINDS:
        assert preset(name, masks).infer_samples == (64 if masks == "unit" else 1)


def test_signed_masks_go_as_weight_masks_do_but_that_a_bank_tries_every_mask() -> None:
    for name in BENCHMARKS:
        weight = preset(name, "weight")
        assert preset(name, "signed") == replace(weight, inference="try-all")
    with pytest.raises(ConfigError, match="There are"):
        preset("split-mnist", "signed", "paper")


def test_presets_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        preset("split-digits", "hashed").bits = 3  # type: ignore[misc]


@pytest.mark.parametrize("name", ["split-digits", "permuted-mnist", "rotated-mnist"])
def test_the_papers_network_is_for_split_mnist_alone(name: str) -> None:
    with pytest.raises(ConfigError, match=r"There are: .*split-mnist with unit masks \(paper\)"):
        preset(name, "unit", "paper")


@pytest.mark.parametrize("masks", ["hashed", "weight", "units"])
def test_a_combination_without_preset_lists_those_there_are(masks: str) -> None:
    with pytest.raises(ConfigError, match=rf"no split-mnist with {masks} masks.*There are: .*"):
        preset("split-mnist", masks, "paper")


def test_an_unknown_benchmark_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'split-mnist'"):
        preset("split-minst", "hashed")


def test_outputs_are_enough_for_the_classes_of_a_task() -> None:
    def outputs(**changes) -> int:
        return resolved(RunSettings(benchmark="split-cifar100", **changes)).outputs

    assert outputs(classes_per_task=50) == 50
    assert outputs(classes_per_task=2) == outputs() == preset("split-cifar100", "weight").outputs
    assert outputs(classes_per_task=20, output_size=33) == 33


def test_augmentation_is_of_pictures_and_of_given_tasks_alone() -> None:
    for name in BENCHMARKS:
        augment = resolved(RunSettings(benchmark=name)).training.augment
        assert augment == (None if name in (*DIGITS, "idx") else "strong")
    training = resolved(RunSettings(benchmark="folder", scenario="NNs")).training
    assert (training.augment, training.mixup) == (None, 0.0)


@pytest.mark.parametrize(
    ("given", "changes", "mixed"), [("strong", "strong", True), ("crop-flip", "crop-flip", False)]
)
def test_a_run_chooses_how_its_pictures_are_changed(given: str, changes: str, mixed: bool) -> None:
    training = resolved(RunSettings(benchmark="split-cifar10", augment=given)).training
    assert training.augment == changes
    assert (training.mixup > 0, training.smoothing > 0) == (mixed, mixed)


def test_a_run_may_take_its_pictures_as_they_are() -> None:
    usual = resolved(RunSettings(benchmark="folder")).training
    plain = resolved(RunSettings(benchmark="folder", augment="none")).training
    assert plain == replace(usual, augment=None, mixup=0.0, smoothing=0.0)


def test_pictures_are_trained_in_what_suits_the_device(monkeypatch: pytest.MonkeyPatch) -> None:
    def precision(benchmark: str, **changes: Any) -> str:
        settings = RunSettings(benchmark=benchmark, device="cpu", **changes)
        return resolved(settings).training.precision

    for has, suits in ((True, "bfloat16"), (False, "float32")):
        capabilities = {"amx_bf16": has}
        monkeypatch.setattr(torch.cpu, "get_capabilities", capabilities.copy, raising=False)
        assert precision("split-cifar10") == precision("folder") == suits
        assert precision("split-digits") == "float32"
        for given in ("float32", "bfloat16"):
            assert precision("split-cifar10", train_in=given) == given
            assert precision("split-digits", train_in=given) == given


def test_a_preset_without_content_address_recalls_by_entropy() -> None:
    assert resolved(RunSettings(benchmark="split-imagenet")).recall == "entropy"
    assert resolved(RunSettings(benchmark="folder"), streamed=True).recall == "entropy"


def test_the_documents_name_the_benchmarks_that_recall_by_posterior() -> None:
    text = (Path(__file__).parents[3] / "docs" / "command_line.md").read_text(encoding="utf-8")
    named = re.search(r"`posterior`: .*; the default of ([^)]+)\)", text)
    usual = {b for b in BENCHMARKS if resolved(RunSettings(benchmark=b)).recall == "posterior"}
    assert named is not None
    assert {*re.split(r", | and ", named.group(1))} == usual


@pytest.mark.parametrize("masks", ["weight", "hashed"])
def test_without_an_address_recall_is_by_entropy_and_no_class_has_a_mean(masks: str) -> None:
    usual = resolved(RunSettings(masks=masks))
    without = resolved(RunSettings(masks=masks, signature_features=0))
    assert usual.recall == ("posterior" if masks == "weight" else "both")
    assert (without.features, without.recall, without.class_means) == (0, "entropy", False)
    assert resolved(RunSettings(masks=masks, signature_features=64)).features == 64


def test_an_address_of_large_images_cannot_be_asked_for() -> None:
    settings = RunSettings(benchmark="folder", signature_features=64)
    with pytest.raises(ConfigError, match="images this large: leave out --signature-features"):
        resolved(settings, streamed=True)
