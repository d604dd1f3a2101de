"""`load`: what it is told about rule and device, and what it gives back."""

import pytest
import torch

from hopmask import ConfigError, Hebbian, MaskMemory, Reservoir, load


@pytest.fixture(params=["masks", "reservoir"])
def saved(request, tmp_path, random_spins):
    """A file of either kind, two patterns in it."""
    path = tmp_path / "memory.h5"
    if request.param == "masks":
        memory = MaskMemory({"h": 64}, rule="hebbian", key_bits=48, signature_features=16)
        for number, spins in enumerate(random_spins(2, 64)):
            memory.store({"h": spins > 0}, signature=torch.ones(3) + number)
    else:
        memory = Reservoir(64, rule="hebbian")
        memory.store(random_spins(2, 64))
    memory.save(path)
    return path


def reservoir_of(loaded):
    return loaded.reservoir if isinstance(loaded, MaskMemory) else loaded


def test_what_was_saved_comes_back_as_what_it_was(saved, request):
    kind = {"masks": MaskMemory, "reservoir": Reservoir}[request.node.callspec.params["saved"]]
    assert type(load(saved)) is kind


def test_a_memory_lives_where_it_is_told_to(saved):
    """A device without storage stands for any other than the default."""
    loaded = load(saved, device="meta")
    state = [reservoir_of(loaded).psi, reservoir_of(loaded).mean]
    if isinstance(loaded, MaskMemory):
        state += loaded._address.sums.values()
    assert {tensor.device.type for tensor in state} == {"meta"}
    assert reservoir_of(loaded).count == 2


def test_a_device_that_is_not_there_is_refused(saved):
    with pytest.raises(ConfigError, match="cannot put the memory on device 'cuda:99'"):
        load(saved, device="cuda:99")


@pytest.mark.parametrize("device", ["nowhere", torch.float64, 3.5], ids=repr)
def test_what_is_no_device_is_refused(saved, device):
    """A dtype above all, which torch's own `to` would take without a word."""
    with pytest.raises(ConfigError, match="is no device"):
        load(saved, device=device)


@pytest.mark.parametrize("rule", ["hebbian", Hebbian, 3, ["hebbian"]], ids=repr)
def test_a_rule_that_is_no_object_is_refused(saved, rule):
    with pytest.raises(ConfigError, match="rule= takes a LearningRule object"):
        load(saved, rule=rule)


def test_the_rule_is_one_by_the_files_name_or_the_object_given(saved):
    mine = Hebbian()
    assert reservoir_of(load(saved, rule=mine)).rule is mine
    assert isinstance(reservoir_of(load(saved)).rule, Hebbian)


def test_a_file_can_be_loaded_twice_into_memories_of_their_own(saved):
    first, second = reservoir_of(load(saved)), reservoir_of(load(saved))
    first.psi.zero_()
    assert second.psi.any()
    assert reservoir_of(load(saved)).psi.any()
