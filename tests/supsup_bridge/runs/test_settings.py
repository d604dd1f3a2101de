"""The settings of a run: defaults, and every value that is refused before any work is done."""

from dataclasses import FrozenInstanceError, asdict, replace
from typing import Any

import pytest
import torch

from hopmask import ConfigError, HopmaskError
from hopmask.errors import MemoryFullError
from supsup_bridge import RunSettings
from supsup_bridge.continual.scoring import PROTOCOLS
from supsup_bridge.continual.settings import INITS
from supsup_bridge.data.benchmarks import BENCHMARKS
from supsup_bridge.inference.named import INFERENCES
from supsup_bridge.inference.recall import RECALLS
from supsup_bridge.networks.masked import MASKS
from supsup_bridge.networks.registry import NETWORKS
from supsup_bridge.runs.settings import MEMORIES, SCENARIOS

BANK: dict[str, Any] = {"memory": "bank"}
FREE: dict[str, Any] = {"memory": "bank", "scenario": "NNs"}

# --- defaults


def test_a_plain_run_is_hopsupsup_on_the_digits_with_weight_masks() -> None:
    given = {name: value for name, value in asdict(RunSettings()).items() if value is not None}
    assert given == {
        "benchmark": "split-digits",
        "scenario": "GNu",
        "memory": "hopfield",
        "masks": "weight",
        "tasks": 5,
        "seed": 0,
        "protocol": "batch",
        "network": "standard",
        "quick": False,
        "device": "auto",
        "learner": "supsup",
        "workers": False,
    }


@pytest.mark.parametrize(
    ("memory", "network", "masks"),
    [
        ("hopfield", "standard", "weight"),
        ("hopfield", "lenet-300-100", "weight"),
        ("hopfield", "my.nets:make", "weight"),
        ("hopfield", "paper", "unit"),
        ("bank", "standard", "weight"),
        ("bank", "fc-1024-1024", "weight"),
    ],
)
def test_masks_are_by_default_those_of_the_memory(memory: str, network: str, masks: str) -> None:
    assert RunSettings(memory=memory, network=network).masks == masks


@pytest.mark.parametrize(
    ("memory", "masks"), [("hopfield", "unit"), ("bank", "unit"), ("bank", "hashed")]
)
def test_masks_that_were_given_are_kept(memory: str, masks: str) -> None:
    assert RunSettings(memory=memory, masks=masks).masks == masks


@pytest.mark.parametrize(
    ("name", "tasks"),
    [("split-digits", 5), ("split-mnist", 5), ("permuted-mnist", 10), ("rotated-mnist", 36)],
)
def test_tasks_are_by_default_those_of_the_benchmark(name: str, tasks: int) -> None:
    assert RunSettings(benchmark=name).tasks == tasks


def test_tasks_that_were_given_are_kept() -> None:
    assert RunSettings(tasks=3).tasks == 3
    assert RunSettings(benchmark="permuted-mnist", tasks=2500).tasks == 2500


def test_settings_made_from_others_are_checked_again() -> None:
    settings = RunSettings(seed=3)
    assert replace(settings, seed=4).seed == 4
    with pytest.raises(ConfigError):
        replace(settings, seed=-1)


# --- frozen


@pytest.mark.parametrize("name", ["seed", "masks", "tasks"])
def test_settings_cannot_be_changed(name: str) -> None:
    settings = RunSettings()
    with pytest.raises(FrozenInstanceError):
        setattr(settings, name, 3)


def test_settings_have_names() -> None:
    with pytest.raises(TypeError):
        RunSettings("split-digits")  # type: ignore[misc]


def test_an_unknown_setting_is_no_setting() -> None:
    with pytest.raises(TypeError, match="scenarios"):
        RunSettings(scenarios="GG")  # type: ignore[call-arg]


def test_equal_settings_are_equal_and_can_be_keys() -> None:
    assert RunSettings() == RunSettings(masks="weight", tasks=5)
    assert len({RunSettings(), RunSettings(), RunSettings(seed=1)}) == 2


# --- every known name is taken


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_is_known(name: str) -> None:
    assert RunSettings(benchmark=name).benchmark == name


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_every_scenario_is_known(scenario: str) -> None:
    assert RunSettings(scenario=scenario, memory="bank").scenario == scenario


@pytest.mark.parametrize("recall", [*RECALLS, "posterior"])
def test_every_recall_is_known(recall: str) -> None:
    assert RunSettings(recall=recall).recall == recall


@pytest.mark.parametrize("inference", INFERENCES)
def test_every_inference_is_known(inference: str) -> None:
    assert RunSettings(**BANK, inference=inference).inference == inference


@pytest.mark.parametrize("objective", ["H", "G"])
@pytest.mark.parametrize("inference", ["one-shot", "binary", "descent"])
def test_every_inference_by_gradient_takes_every_objective(inference: str, objective: str) -> None:
    settings = RunSettings(**BANK, inference=inference, objective=objective)
    assert settings.objective == objective


@pytest.mark.parametrize("network", ["standard", *NETWORKS, "package.module:function"])
def test_every_network_is_known(network: str) -> None:
    assert RunSettings(network=network, masks="unit").network == network


@pytest.mark.parametrize("sparsity", [1e-6, 0.05, 0.5, 1])
def test_a_share_is_a_sparsity(sparsity: float) -> None:
    assert RunSettings(**BANK, sparsity=sparsity).sparsity == sparsity


@pytest.mark.parametrize(
    "name", ["output_size", "batches", "infer_samples", "evaluate_every", "tasks"]
)
def test_counts_start_at_one(name: str) -> None:
    assert getattr(RunSettings(**{name: 1}), name) == 1


def test_a_seed_may_be_zero_and_huge() -> None:
    assert RunSettings(seed=0).seed == 0
    assert RunSettings(seed=2**70).seed == 2**70


# --- names that are not known


@pytest.mark.parametrize(
    ("name", "value", "meant"),
    [
        ("benchmark", "split-digit", "split-digits"),
        ("scenario", "gnu", "GNu"),
        ("memory", "hopfeild", "hopfield"),
        ("masks", "weights", "weight"),
        ("recall", "entropi", "entropy"),
        ("protocol", "images", "image"),
        ("inference", "oneshot", "one-shot"),
        ("mask_init", "rand", "random"),
        ("augment", "crop", "crop-flip"),
        ("train_in", "bfloat", "bfloat16"),
        ("device", "cudda", "cuda"),
        ("network", "lenet-300", "lenet-300-100"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, value, meant) -> None:
    with pytest.raises(ConfigError, match=f"unknown {name} '{value}': did you mean '{meant}'"):
        RunSettings(**{name: value})


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("benchmark", BENCHMARKS),
        ("scenario", SCENARIOS),
        ("memory", MEMORIES),
        ("masks", MASKS),
        ("recall", (*RECALLS, "posterior")),
        ("protocol", PROTOCOLS),
        ("inference", INFERENCES),
        ("objective", ("H", "G")),
        ("mask_init", INITS),
        ("augment", ("none", "crop-flip", "strong")),
        ("train_in", ("float32", "bfloat16")),
        ("device", ("auto", "cpu", "cuda")),
        ("network", ("standard", *NETWORKS, "package.module:function")),
    ],
)
def test_an_unknown_name_is_answered_with_all_known(name: str, known) -> None:
    with pytest.raises(ConfigError) as caught:
        RunSettings(**{name: "nonsense"})
    assert f"Known: {', '.join(known)}" in str(caught.value)


@pytest.mark.parametrize("name", ["benchmark", "scenario", "memory", "device", "network"])
def test_none_is_no_name_where_there_is_no_default(name: str) -> None:
    with pytest.raises(ConfigError, match=f"unknown {name} None"):
        RunSettings(**{name: None})


@pytest.mark.parametrize("name", ["rule", "recall", "signature"])
def test_what_a_hopfield_memory_takes_is_not_for_a_bank(name: str) -> None:
    value = {"rule": "hebbian", "recall": "both", "signature": "input"}[name]
    with pytest.raises(ConfigError, match=f"{name} is for --memory hopfield"):
        RunSettings(memory="bank", **{name: value})


@pytest.mark.parametrize(
    "other", [{"scenario": "GG"}, {"network": "paper", "masks": "unit"}, {"infer_samples": 8}]
)
def test_protocol_image_asks_every_scored_image_and_no_other(other: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="protocol image"):
        RunSettings(protocol="image", **other)
    assert RunSettings(protocol="image", infer_samples=1).protocol == "image"


@pytest.mark.parametrize("recall", ["address", "posterior"])
def test_a_recall_that_follows_no_gradient_takes_no_objective(recall: str) -> None:
    with pytest.raises(ConfigError, match="takes no objective"):
        RunSettings(recall=recall, objective="G")


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'storkey'"):
        RunSettings(masks="hashed", rule="storky")


@pytest.mark.parametrize("name", ["network", "signature"])
@pytest.mark.parametrize("value", [torch.nn.Sequential(torch.nn.Linear(2, 2)), len], ids=str)
def test_an_object_is_no_name(name: str, value: Any) -> None:
    """A module's text has a colon, as the name of a function has."""
    with pytest.raises(ConfigError, match=r"SupSup\(module\)"):
        RunSettings(**{name: value})


@pytest.mark.parametrize("name", ["inputs", 3])
def test_an_unknown_signature_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="unknown signature"):
        RunSettings(signature=name)


@pytest.mark.parametrize("other", [{"recall": "entropy"}, {"network": "paper", "masks": "unit"}])
def test_a_recall_that_reads_no_address_takes_no_signature(other: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="leave out --signature"):
        RunSettings(signature="outputs", **other)


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"signature_features": -1}, "signature_features must be at least 0, got -1"),
        ({"signature_features": 0, "recall": "both"}, "recall both reads the content address"),
        ({"signature_features": 0, "recall": "posterior"}, "or use --recall entropy"),
        (
            {"signature_features": 0, "signature": "input"},
            "leave out one of --signature and --signature-features",
        ),
        (
            {"signature_features": 0, "memory": "bank"},
            "signature_features is for --memory hopfield",
        ),
        ({"signature_features": 0, "learner": "psp"}, "leave out --signature-features"),
        ({"signature_features": 64, "network": "paper"}, "leave out --signature-features"),
        ({"signature_features": 0, "network": "paper"}, "leave out --signature-features"),
    ],
)
def test_features_that_do_not_fit_are_refused(other: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunSettings(**other)


# --- numbers


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("batches", value) for value in (0, 1.0, "3", True)],
        *[(n, 0) for n in ("bits", "output_size", "infer_samples", "evaluate_every", "tasks")],
        ("ask_every", 0),
    ],
)
def test_counts_are_whole_numbers_from_one(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=rf"{name} must be at least 1, got {value!r}"):
        RunSettings(**{name: value})


@pytest.mark.parametrize("value", [0, -1, 1.0, True])
def test_a_budget_is_a_whole_number_from_one(value: Any) -> None:
    with pytest.raises(ConfigError, match=f"budget must be at least 1, got {value!r}"):
        RunSettings(**FREE, budget=value)


@pytest.mark.parametrize("value", [-1, 1.5, "0", None, False])
def test_a_seed_is_a_whole_number_from_zero(value: Any) -> None:
    with pytest.raises(ConfigError, match=f"seed must be at least 0, got {value!r}"):
        RunSettings(seed=value)


@pytest.mark.parametrize("value", [0, 0.0, -0.04, float("nan"), "0.1", True])
def test_epsilon_is_a_positive_number(value: Any) -> None:
    with pytest.raises(ConfigError, match="epsilon must be"):
        RunSettings(epsilon=value)


@pytest.mark.parametrize("value", [0.0, 1.01, 2, float("nan"), "0.1", True])
def test_a_sparsity_is_a_share(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"sparsity must lie in \(0, 1\]"):
        RunSettings(**BANK, sparsity=value)


# --- values that do not go together


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"rule": "storkey"}, "leave out --rule, or use --masks hashed"),
        ({"masks": "hashed", "hubs": 8}, "leave out --hubs, or use --masks weight"),
        ({"masks": "unit", "objective": "G"}, "leave out --objective, or use --masks weight"),
        ({"recall": "address", "objective": "H"}, "leave out --objective, or use --recall"),
        ({"network": "paper", "masks": "weight"}, "leave out --masks"),
        ({"network": "paper", "masks": "signed"}, "leave out --masks"),
        ({**BANK, "masks": "signed", "bits": 100}, "bits is for hashed masks"),
        ({**BANK, "masks": "unit", "network": "lenet-300-100", "bits": 64}, "bits is for hashed"),
        ({"masks": "signed", "rule": "storkey"}, "leave out --rule"),
        ({"masks": "signed", "sparsity": 0.1}, "every weight is always on"),
        ({"masks": "hashed", "sparsity": 0.1}, "half of the weights are always on"),
        ({"hubs": 12}, "give 16"),
        ({"hubs": 1}, "give 2"),
        ({"hubs": 2**17}, "give 65536"),
        ({**BANK, "hubs": 8}, "hubs is for --memory hopfield"),
        ({"scenario": "NNs", "epsilon": 0.1}, "epsilon is for --memory bank.*out --epsilon"),
        (
            {"benchmark": "split-mnist", "scenario": "NNs", "network": "paper"},
            "NNs takes the standard network",
        ),
        ({"inference": "one-shot"}, "inference is for --memory bank.*leave out --inference"),
        ({"network": "paper", "recall": "both"}, "energy and entropy alone.*leave out --recall"),
        ({"network": "paper", "recall": "address"}, "not by 'address'"),
        ({**BANK, "recall": "both"}, "recall is for --memory hopfield"),
        ({**BANK, "network": "paper"}, "use --memory hopfield"),
        ({**BANK, "inference": "try-all", "objective": "H"}, "follows no gradient"),
        ({**BANK, "bits": 100}, "bits is for hashed masks"),
        ({**BANK, "budget": 3}, "budget is for scenario NNs"),
        ({"ask_every": 3}, "ask_every is for scenario NNs"),
        *(({**FREE, "mask_init": start}, "use --mask-init mean") for start in INITS[3:]),
        ({"masks": "hashed", "mask_init": "ones"}, "half of the weights under a hashed mask"),
        ({"quick": True, "batches": 30}, "leave out --quick or --batches"),
        ({"augment": "none"}, "split-digits has flat images: leave out --augment"),
        ({"benchmark": "idx", "augment": "strong"}, "idx has flat images: leave out --augment"),
        (
            {"benchmark": "folder", "scenario": "NNs", "augment": "none"},
            "NNs looks at the very batches",
        ),
    ],
    ids=str,
)
def test_values_that_do_not_go_together_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RunSettings(**wrong)


@pytest.mark.parametrize(
    "right",
    [
        {"network": "paper", "recall": "entropy"},
        {**BANK, "masks": "hashed", "bits": 100},
        {**BANK, "masks": "unit", "bits": 100},
        {**FREE, "budget": 3},
        {**FREE, "inference": "binary", "objective": "G"},
        {"scenario": "GG", "recall": "address"},
        *({"mask_init": start} for start in INITS),
        {"hubs": 8, "objective": "G"},
        {"masks": "signed", "hubs": 8, "objective": "G"},
        {"scenario": "NNs", "hubs": 2},
        {"benchmark": "split-cifar10", "augment": "crop-flip"},
    ],
    ids=str,
)
def test_values_that_go_together_are_kept(right: dict[str, Any]) -> None:
    settings = asdict(RunSettings(**right))
    assert {name: settings[name] for name in right} == right


def test_fewer_hubs_than_tasks_are_refused_before_any_work() -> None:
    with pytest.raises(MemoryFullError, match="--hubs 8"):
        RunSettings(hubs=4)


def test_a_refusal_is_one_of_the_librarys_errors_and_a_value_error() -> None:
    with pytest.raises(HopmaskError) as caught:
        RunSettings(scenario="XX")
    assert isinstance(caught.value, ValueError)


def test_epsilon_without_a_novelty_test_is_refused() -> None:
    """It would be ignored."""
    with pytest.raises(ConfigError):
        RunSettings(memory="bank", epsilon=0.04)
    assert RunSettings(memory="bank", scenario="NNs", epsilon=0.04).epsilon == 0.04


def test_learners_that_train_in_float32_take_no_other_precision() -> None:
    assert RunSettings(learner="psp", train_in="bfloat16").train_in == "bfloat16"
    assert RunSettings(learner="ewc", train_in="float32").train_in == "float32"  # as it is
    with pytest.raises(ConfigError, match="ewc trains in float32: leave out --train-in"):
        RunSettings(learner="ewc", train_in="bfloat16")


@pytest.mark.parametrize("learner", ["lower-bound", "ewc"])
@pytest.mark.parametrize("option", ["infer_samples", "output_size"])
def test_learners_that_read_outputs_infer_from_no_images(learner: str, option: str) -> None:
    with pytest.raises(ConfigError, match=f"leave out --{option.replace('_', '-')}"):
        RunSettings(learner=learner, **{option: 8})
    assert RunSettings(learner="psp", **{option: 8}).learner == "psp"
    assert RunSettings(learner=learner, infer_samples=1).infer_samples == 1  # it is so


def test_pnn_has_its_own_network() -> None:
    with pytest.raises(ConfigError, match="leave out --network"):
        RunSettings(learner="pnn", scenario="GG", network="fc-100-100")
