"""The commands `hopmask inspect`, `verify`, `recover` and `migrate`."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from hopmask import MaskMemory, Reservoir, load, storage
from hopmask.cli import main
from hopmask.storage import Document
from hopmask.storage.commit import draft_of

DATA = Path(__file__).parents[2] / "data"


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run a command in a folder of its own: (status, stdout, stderr), spaces made one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "160")

    def command(*arguments):
        status = main(list(arguments))
        out, err = capsys.readouterr()
        return status, " ".join(out.split()), " ".join(err.split())

    return command


@pytest.fixture
def saved(tmp_path):
    """A file of two generations: one task, then two."""
    path = tmp_path / "memory.h5"
    memory = MaskMemory({"h": 100, "c": (4, 5)}, key_bits=32, signature_features=8, seed=3)
    for task in range(2):
        memory.store(
            {"h": torch.arange(100) % (task + 3) == 0, "c": torch.ones(4, 5) > task},
            signature=torch.eye(6)[task],
        )
        memory.save(path)
    return path


def damage(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def stamp_of(path):
    return storage.read_stamped(path)[1]


# inspect


def test_inspect_shows_what_is_in_a_file(run, saved):
    status, out, err = run("inspect", "memory.h5")
    assert (status, err) == (0, "")
    for text in ("memory.h5", "masks", "storkey", "float32", "216", "generation │ 2"):
        assert text in out
    assert stamp_of(saved).sha256 in out


def test_inspect_gives_json(run, saved):
    status, out, _ = run("inspect", "--json", "memory.h5")
    stamp = stamp_of(saved)
    assert status == 0
    assert json.loads(out) == {
        "kind": "masks",
        "schema": 4,
        "rule": "storkey",
        "dtype": "float32",
        "spins": 216,
        "tasks": 2,
        "load": 2 / 216,
        "layers": {"h": [100], "c": [4, 5]},
        "seed": 3,
        "key_bits": 32,
        "signature_features": 8,
        "signature_length": 6,
        "next_task": 2,
        "mask_bits": 120,
        "bytes_of_the_same_masks_packed": 30,
        "bytes": saved.stat().st_size,
        "generation": 2,
        "store": stamp.store,
        "sha256": stamp.sha256,
    }


def test_inspect_prints_the_digest_that_load_expects(run, saved):
    _, out, _ = run("inspect", "memory.h5", "--json")
    assert load(saved, expect_sha256=json.loads(out)["sha256"]).count == 2


def test_inspect_shows_a_reservoir(run, tmp_path):
    reservoir = Reservoir(16, rule="projection", dtype=torch.float64)
    reservoir.store(torch.ones(16))
    reservoir.save(tmp_path / "reservoir.h5")
    _, out, _ = run("inspect", "reservoir.h5", "--json")
    facts = json.loads(out)
    assert (facts["kind"], facts["rule"], facts["dtype"]) == ("reservoir", "projection", "float64")
    assert (facts["patterns"], facts["spins"], facts["load"]) == (1, 16, 1 / 16)
    assert "tasks" not in facts


def test_inspect_shows_a_document_of_another_package(run, tmp_path):
    shutil.copy(DATA / "bank_schema3.h5", tmp_path / "bank.h5")
    _, out, _ = run("inspect", "bank.h5", "--json")
    facts = json.loads(out)
    assert (facts["kind"], facts["masks"]) == ("bank", "uint8 (3, 5)")


@pytest.mark.parametrize("name", ["[red]x.h5", "größe 2.h5"])
def test_any_name_of_a_file_is_shown_as_it_is(run, saved, name):
    saved.rename(saved.with_name(name))
    for command in ("inspect", "verify", "recover", "migrate"):
        status, out, _ = run(command, name)
        assert status == 0
        assert name in out


def test_a_name_of_a_layer_is_shown_as_it_is(run, tmp_path):
    MaskMemory({"[red]h[/]": 32}, key_bits=32, signature_features=0).save(tmp_path / "memory.h5")
    _, out, _ = run("inspect", "memory.h5")
    assert "[red]h[/]" in out


# verify


def test_verify_says_that_both_generations_are_whole(run, saved):
    status, out, err = run("verify", "memory.h5")
    previous = stamp_of(saved.with_name("memory.h5.prev"))
    assert (status, err) == (0, "")
    assert f"memory.h5: whole, generation 2, SHA-256 {stamp_of(saved).sha256}" in out
    assert f"memory.h5.prev: whole, generation 1, SHA-256 {previous.sha256}" in out


def test_verify_says_that_there_is_no_previous_generation(run, saved):
    saved.with_name("memory.h5.prev").unlink()
    status, out, _ = run("verify", "memory.h5")
    assert status == 0
    assert "memory.h5.prev: there is none" in out


def test_verify_says_that_the_previous_generation_is_damaged(run, saved):
    damage(saved.with_name("memory.h5.prev"))
    status, out, _ = run("verify", "memory.h5")
    assert status == 0
    assert "memory.h5: whole, generation 2" in out
    assert "memory.h5.prev: payload SHA-256 does not match its header (generation 1)" in out


def test_verify_refuses_a_damaged_file_and_says_what_to_do(run, saved):
    damage(saved)
    status, out, err = run("verify", "memory.h5")
    assert (status, out) == (1, "")
    assert "error: memory.h5: payload SHA-256 does not match its header (generation 2)" in err
    assert "run `hopmask recover memory.h5`" in err


def test_verify_finds_a_memory_that_is_whole_but_makes_no_sense(run, saved):
    document, _ = storage.read_stamped(saved)
    about = {**document.about, "key_bits": 33}
    storage.write(saved, Document(kind="masks", about=about, arrays=document.arrays))
    status, _, err = run("verify", "memory.h5")
    assert status == 1
    assert "description does not fit" in err


def test_verify_says_that_a_memory_of_an_unknown_rule_was_not_rebuilt(run, tmp_path, forgetful):
    memory = MaskMemory({"h": 32}, rule=forgetful, key_bits=32, signature_features=0)
    memory.save(tmp_path / "memory.h5")
    status, out, _ = run("verify", "memory.h5")
    assert status == 0
    assert "was not rebuilt:" in out
    assert "'forgetful'" in out
    assert "memory.h5: whole, generation 1" in out


# recover


def test_recover_leaves_a_whole_file(run, saved):
    before = saved.read_bytes()
    status, out, _ = run("recover", "memory.h5")
    assert status == 0
    assert "memory.h5: whole, generation 2" in out
    assert "left as it is" in out
    assert saved.read_bytes() == before


def test_recover_puts_the_previous_generation_in_place(run, saved):
    damage(saved)
    status, out, _ = run("recover", "memory.h5")
    assert status == 0
    assert "memory.h5: recovered from generation 1" in out
    assert f"the damaged file is now {saved}.damaged" in out
    assert load(saved).count == 1


def test_recover_takes_a_file_that_is_gone(run, saved):
    saved.unlink()
    status, out, _ = run("recover", "memory.h5")
    assert status == 0
    assert "recovered from generation 1" in out
    assert "damaged" not in out


def test_recover_says_which_drafts_it_cleared(run, saved):
    draft = draft_of(saved, 99)
    draft.write_bytes(b"half")
    status, out, _ = run("recover", "memory.h5")
    assert status == 0
    assert f"{draft}: left half-written by a killed writer, removed" in out
    assert not draft.exists()


def test_recover_fails_where_nothing_is_left(run, saved):
    for path in (saved, saved.with_name("memory.h5.prev")):
        damage(path)
    before = saved.read_bytes()
    status, out, err = run("recover", "memory.h5")
    assert (status, out) == (1, "")
    assert "previous generation cannot be read either" in err
    assert saved.read_bytes() == before


# migrate


def test_migrate_says_from_which_schema_to_which(run, saved, monkeypatch):
    after = stamp_of(saved)
    stamps = (replace(after, schema=2, generation=1), after)
    monkeypatch.setattr(storage, "migrate", lambda path: stamps)
    status, out, _ = run("migrate", "memory.h5")
    assert status == 0
    assert "memory.h5: schema 2 -> 4, generation 2" in out
    assert "the old file is now memory.h5.prev" in out


def test_migrate_leaves_a_new_file(run, saved):
    before = saved.read_bytes()
    status, out, _ = run("migrate", "memory.h5")
    assert status == 0
    assert "memory.h5: schema 4 is the newest" in out
    assert saved.read_bytes() == before


# What all refuse


COMMANDS = ("inspect", "verify", "recover", "migrate")


@pytest.mark.parametrize("command", COMMANDS)
def test_a_missing_file_is_status_1(run, command):
    status, out, err = run(command, "none.h5")
    assert (status, out) == (1, "")
    assert "error: there is no file" in err
    assert "none.h5" in err


@pytest.mark.parametrize("command", COMMANDS)
def test_a_foreign_file_is_status_1_and_left_alone(run, tmp_path, command):
    (tmp_path / "notes.txt").write_text("mine")
    status, out, err = run(command, "notes.txt")
    assert (status, out) == (1, "")
    assert "no file of hopmask's" in err
    assert (tmp_path / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_is_status_1(run, tmp_path, command):
    (tmp_path / "folder").mkdir()
    status, _, err = run(command, "folder")
    assert status == 1
    assert "folder" in err


@pytest.mark.parametrize("command", ["inspect", "verify", "migrate"])
def test_a_damaged_file_is_status_1_and_left_alone(run, saved, command):
    damage(saved)
    before = saved.read_bytes()
    status, out, err = run(command, "memory.h5")
    assert (status, out) == (1, "")
    assert "Nothing was loaded" in err
    assert saved.read_bytes() == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_takes_one_file(run, command, capsys):
    with pytest.raises(SystemExit) as stop:
        run(command)
    assert stop.value.code == 2
    assert "file" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["inspect", "verify"])
def test_reading_leaves_no_lock(run, saved, command):
    saved.with_name("memory.h5.lock").unlink()
    run(command, "memory.h5")
    assert not saved.with_name("memory.h5.lock").exists()


def test_documents_of_other_kinds_are_verified_and_inspected(run, tmp_path):
    counts = Document(kind="counts", about={}, arrays={"counts": torch.arange(3).numpy()})
    storage.write(tmp_path / "counts.h5", counts)
    status, out, _ = run("verify", "counts.h5")
    assert (status, "counts.h5: whole, generation 1" in out) == (0, True)
    status, out, _ = run("inspect", "counts.h5")
    assert status == 0
    assert "int64 (3,)" in out


# Hub memories


@pytest.fixture
def hub_file(tmp_path, hub_memory):
    """A file of two generations of a hub memory: three tasks, then two."""
    memory = hub_memory(3)
    memory.save(tmp_path / "hub.h5")
    memory.forget(1)
    memory.save(tmp_path / "hub.h5")
    return tmp_path / "hub.h5"


def test_inspect_shows_a_hub_memory(run, hub_file):
    status, out, err = run("inspect", "hub.h5", "--json")
    facts = json.loads(out)
    assert (status, err) == (0, "")
    assert facts["couplings"] == "hub"
    assert (facts["tasks"], facts["hubs"], facts["hubs_at_birth"]) == (2, 8, 8)
    assert (facts["load"], facts["next_task"]) == (0.25, 3)
    assert facts["layers"] == {"a": [96], "b": [4, 8]}
    assert facts["extras"] == {"x": [3], "y": [1, 2]}
    assert facts["mask_neurons"] == 128 + 16 * 5 + 64
    assert facts["bytes_of_the_same_masks_packed"] == 2 * 16
    status, out, _ = run("inspect", "hub.h5")
    assert status == 0
    assert "hubs at birth 8" in out.replace("│", "").replace("  ", " ")


def test_inspect_shows_how_a_hub_memory_was_rounded(run, tmp_path, hub_memory):
    hub_memory(3).save(tmp_path / "hub.h5", bits=3)
    _, out, _ = run("inspect", "hub.h5", "--json")
    assert json.loads(out)["bits_per_coupling"] == 3
    assert run("verify", "hub.h5")[0] == 0


def test_verify_and_recover_take_hub_memories(run, hub_file):
    status, out, _ = run("verify", "hub.h5")
    assert status == 0
    assert out.count("whole") == 2
    damage(hub_file)
    assert run("verify", "hub.h5")[0] == 1
    assert run("recover", "hub.h5")[0] == 0
    assert load(hub_file).tasks == (0, 1, 2)


def test_verify_refuses_a_hub_memory_whose_parts_do_not_fit(run, tmp_path, hub_memory):
    document = hub_memory(3).document()
    odd = Document(
        kind="masks",
        about=dict(document.about),
        arrays={**document.arrays, "flags": document.arrays["flags"] * 0},
    )
    storage.write(tmp_path / "hub.h5", odd)
    for command in ("verify", "inspect"):
        assert run(command, "hub.h5")[0] == 1
