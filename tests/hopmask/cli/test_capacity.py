"""The command `hopmask capacity`."""

import json

import numpy as np
import pytest
import torch

from hopmask import MaskMemory, RandomMasks, capacity
from hopmask.cli import main


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command in a folder of its own: (status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def command(*arguments):
        status = main(["capacity", *arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return command


def test_it_prints_a_table_the_limits_and_the_plots_name(run, tmp_path):
    status, out, err = run("--d", "48", "--rule", "storkey", "--trials", "2")
    assert status == 0
    assert "plot: capacity.png" in out
    assert "storkey, 10% flips: " in err  # a line a figure, while the others are measured
    found = capacity.measure("storkey", RandomMasks(size=48), trials=2)
    assert f"{found.patterns:.1f}" in out
    assert f"{found.low:.1f} – {found.high:.1f}" in out
    assert "10% flips" in out
    assert "50% erasures" in out
    assert "n / √(2 ln n)" in out
    assert "hebbian" not in out
    assert (tmp_path / "capacity.png").read_bytes().startswith(b"\x89PNG")


def test_json_holds_what_the_library_measures(run, tmp_path):
    run(
        *("--d", "48", "--rule", "hebbian", "--rule", "projection", "--damage", "block:0.25"),
        *("--trials", "2", "--seed", "3", "--json", "out.json", "--plot", "mine.png"),
    )
    result = json.loads((tmp_path / "out.json").read_text())
    damage = capacity.Damage(kind="block", share=0.25)
    for row, rule in zip(result["capacity"], ("hebbian", "projection"), strict=True):
        found = capacity.measure(rule, RandomMasks(size=48), damage=damage, trials=2, seed=3)
        assert (row["rule"], row["trials"]) == (rule, list(found.trials))
    assert {point["rule"] for point in result["curve"]} == {"hebbian", "projection"}
    assert {limit["formula"] for limit in result["limits"]} >= {"0.138 n", "n − 1"}
    assert (tmp_path / "mine.png").exists()
    assert not (tmp_path / "capacity.png").exists()


def test_density_and_overlap_reach_the_masks(run, tmp_path):
    options = ("--d", "48", "--density", "0.7", "--overlap", "0.4", "--damage", "flips:0")
    _, out, _ = run(*options, "--trials", "2", "--json", "out.json")
    masks = RandomMasks(size=48, density=0.7, overlap=0.4)
    found = capacity.measure("storkey", masks, damage=capacity.Damage(share=0.0), trials=2)
    result = json.loads((tmp_path / "out.json").read_text())
    assert result["capacity"][0]["trials"] == list(found.trials)
    assert "density 0.7, overlap 0.4" in " ".join(out.split())


def test_masks_of_ones_own_are_measured_up_to_their_number(run, tmp_path):
    np.savez(tmp_path / "masks.npz", h=np.random.default_rng(0).random((3, 64)) < 0.5)
    status, out, _ = run("--masks", "masks.npz", "--trials", "2")
    assert status == 0
    assert "masks.npz, 3 masks of 64 bits (h 64)" in out
    assert "≥ 3" in out
    assert "all there are" in out


def test_a_memorys_statistics_are_measured(run, tmp_path):
    memory = MaskMemory({"h": 64}, rule="hebbian", key_bits=32, signature_features=0)
    memory.store({"h": torch.arange(64) % 3 == 0})
    memory.save(tmp_path / "memory.h5")
    _, out, _ = run("--masks", "memory.h5", "--trials", "2")
    assert "memory.h5, masks like the 1 of a memory, patterns of 160 spins" in out
    assert "hebbian" in out  # its own rule
    assert "storkey" not in out


def test_a_rule_without_a_known_limit_shows_none(run):
    _, out, _ = run("--d", "32", "--rule", "storkey-matrix", "--trials", "2")
    assert "theory" not in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--rule", "storky"), "did you mean 'storkey'"),
        (("--damage", "flips"), "KIND:SHARE"),
        (("--damage", "flips:much"), "KIND:SHARE"),
        (("--damage", "flips:2"), r"lies in [0, 1]"),
        (("--damage", "bites:0.1"), "unknown damage"),
        (("--d", "0"), "size"),
        (("--trials", "1"), "trials"),
        (("--recalled", "0"), "share in (0, 1]"),
        (("--plot", "no/such/folder.png"), "--plot"),
        (("--plot", "."), "--plot"),
        (("--json", "no/such/folder.json"), "--json"),
        (("--json", "one.png", "--plot", "one.png"), "name one file"),
        (("--plot", "plot.foo"), "no such format"),
        (("--masks", "masks.npz", "--density", "0.5"), "--masks"),
        (("--masks", "masks.npz", "--overlap", "0.5"), "--masks"),
        (("--device", "cuda:99"), "cuda:99"),
    ],
)
def test_bad_input_is_one_line_and_status_2(run, arguments, message):
    status, out, err = run("--d", "32", *arguments)
    assert status == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert "Capacity" not in out


@pytest.mark.parametrize("option", ["--json", "--plot"])
def test_a_file_that_is_read_is_not_written(run, tmp_path, option):
    (tmp_path / "masks.png").write_bytes(b"masks")
    status = run("--masks", "masks.png", option, "masks.png")[0]
    assert status != 0
    assert (tmp_path / "masks.png").read_bytes() == b"masks"


def test_a_size_that_is_not_the_files_is_refused(run, tmp_path):
    np.savez(tmp_path / "masks.npz", h=np.eye(8, dtype=bool))
    status, _, err = run("--masks", "masks.npz", "--d", "16")
    assert status == 2
    assert "holds 8 bits, --d says 16" in " ".join(err.split())


def test_a_missing_file_is_status_1(run):
    status, _, err = run("--masks", "none.npz")
    assert status == 1
    assert "none.npz" in err


def test_an_interruption_is_status_130(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(capacity, "measure", interrupted)
    status, _, err = run("--d", "32")
    assert status == 130
    assert "interrupted" in err


def test_a_full_disk_is_status_1(run, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device", "capacity.png")

    monkeypatch.setattr(capacity, "measure", full)
    status, _, err = run("--d", "32")
    assert status == 1
    assert "No space left on device: 'capacity.png'" in err


def test_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert "hopmask 0." in capsys.readouterr().out


def test_a_hub_memorys_statistics_are_measured(run, tmp_path, hub_memory):
    hub_memory(5).save(tmp_path / "hub.h5")
    status, out, _ = run("--masks", "hub.h5", "--trials", "2")
    assert status == 0
    assert "masks like the 5 of a memory" in out
