"""Defaults of each benchmark: complete, buildable, and told by name."""

import pytest

from hopmask import ConfigError
from supsup_bridge import TrainingSettings
from supsup_bridge.presets import preset
from supsup_bridge.tasks import BENCHMARKS


@pytest.mark.parametrize("name", BENCHMARKS)
@pytest.mark.parametrize("masks", ["hashed", "unit"])
def test_every_benchmark_has_a_preset_for_both_kinds_of_mask(name: str, masks: str) -> None:
    chosen = preset(name, masks)
    assert isinstance(chosen.training, TrainingSettings)
    assert chosen.bits >= 1
    assert chosen.hidden
    assert chosen.outputs >= 2
    assert chosen.signature_bits >= 0
    assert chosen.infer_samples >= 1


def test_the_papers_network_has_the_papers_sizes_and_training() -> None:
    paper = preset("split-mnist", "unit", "paper")
    assert (paper.bits, len(paper.hidden), paper.outputs) == (2048, 2, 10)
    assert paper.signature_bits == 0
    assert paper.infer_samples == 64
    assert paper.training == TrainingSettings(
        epochs=1, batch=128, optimiser="sgd", rate=0.1, contrast=0
    )


def test_presets_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        preset("split-digits", "hashed").bits = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("masks", "network"), [("hashed", "paper"), ("weight", "standard"), ("unit", "other")]
)
def test_a_combination_without_preset_lists_those_there_are(masks: str, network: str) -> None:
    with pytest.raises(ConfigError, match=r"There are: .*split-mnist with unit masks \(paper\)"):
        preset("split-mnist", masks, network)


def test_an_unknown_benchmark_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'split-mnist'"):
        preset("split-minst", "hashed")
