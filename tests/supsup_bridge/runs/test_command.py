"""The command line that has given settings."""

import argparse
import shlex
from typing import Any

import pytest

from supsup_bridge import RunSettings
from supsup_bridge.cli import run
from supsup_bridge.cli.options import workers_of
from supsup_bridge.runs.command import command_of

SETTINGS: list[dict[str, Any]] = [
    {},
    {"benchmark": "split-mnist", "network": "paper", "seed": 3},
    {"memory": "bank", "inference": "one-shot", "objective": "G", "output_size": 20},
    {"masks": "hashed", "bits": 256, "rule": "projection", "quick": True},
    {"benchmark": "split-cifar100", "classes_per_task": 10, "tasks": 4, "augment": "none"},
    {"scenario": "NNs", "ask_every": 20, "budget": 9, "evaluate_every": 2},
    {"workers": True, "tasks": 3, "hubs": 16, "recall": "both"},
    {"network": "a.module:with a space", "sparsity": 0.05, "mask_init": "shared"},
    {"network": "-a.module:f", "signature": "--b.module:with a space"},
]


@pytest.mark.parametrize("given", SETTINGS, ids=str)
def test_the_command_has_the_settings(given: dict[str, Any]) -> None:
    settings = RunSettings(**given)
    name, *words = shlex.split(command_of(settings))
    assert name == "supsup"
    parser = argparse.ArgumentParser()
    run.add_command(parser.add_subparsers())
    options = vars(parser.parse_args(words))
    del options["run"]
    workers = workers_of(options)
    assert RunSettings(**options, workers=workers is not None) == settings


def test_defaults_are_left_out() -> None:
    assert command_of(RunSettings()) == "supsup run split-digits"
