"""Questions to a memory: options that count, numbers in a batch, rows that leave."""

import pytest
import torch

from hopmask import ConfigError, CueError, MaskMemory, Search, UnknownTaskError

BITS = 1200


@pytest.fixture(scope="module")
def masks():
    return torch.rand(12, BITS, generator=torch.Generator().manual_seed(0)) < 0.5


def memory_of(masks, **options):
    memory = MaskMemory({"h": masks.shape[1]}, **{"signature_features": 0, **options})
    for mask in masks:
        memory.store({"h": mask}, check=False)
    return memory


@pytest.fixture(scope="module")
def memory(masks):
    return memory_of(masks)


def test_a_number_is_recalled_by_position(memory, masks):
    hit = memory.recall(7)
    assert (hit.task, hit.verified) == (7, True)
    assert torch.equal(hit.masks["h"], masks[7])


@pytest.mark.parametrize("numbers", [[3, 7], (3, 7), torch.tensor([3, 7])], ids=repr)
def test_many_numbers_are_recalled_in_one_batch(memory, masks, numbers):
    hit = memory.recall(numbers)
    assert hit.task.tolist() == [3, 7]
    assert torch.equal(hit.masks["h"], masks[[3, 7]])
    assert hit.verified.tolist() == [True, True]
    single = [memory.recall(3), memory.recall(7)]
    assert hit.energy.tolist() == pytest.approx([one.energy for one in single])


@pytest.mark.parametrize("penalty", [None, lambda masks: masks["h"].square().sum(-1)])
def test_a_batch_of_no_cues_has_no_answers(penalty, memory):
    hit = memory.recall(cue={"h": torch.ones(0, BITS)}, penalty=penalty)
    assert hit.masks["h"].shape == (0, BITS)


def test_one_number_in_a_list_keeps_its_dimension(memory):
    assert memory.recall([5]).masks["h"].shape == (1, BITS)


@pytest.mark.parametrize("numbers", [[], [0, 12], [0, -1], ["0"], torch.tensor([0, 99])], ids=repr)
def test_unknown_numbers_are_refused_in_a_batch_too(memory, numbers):
    with pytest.raises(UnknownTaskError):
        memory.recall(numbers)


def test_numbers_and_a_cue_of_another_batch_size_are_refused(memory, masks):
    with pytest.raises(CueError):
        memory.recall([0, 1], cue={"h": masks[:3].float()})


def test_a_damaged_mask_visits_as_many_basins_as_it_is_given(memory):
    cue = {"h": torch.rand(BITS, generator=torch.Generator().manual_seed(5))}
    one = memory.recall(cue=cue, search=Search(trace=True))
    many = memory.recall(cue=cue, search=Search(max_basins=4, trace=True))
    assert int(one.trace.basin.max()) == 0
    if not one.verified:
        assert int(many.trace.basin.max()) > 0


def test_options_that_a_recall_would_ignore_are_refused(memory, masks):
    for question in ({"task": 3}, {"cue": {"h": masks[0].float()}}):
        for option in ("min_margin", "agreement_weight", "recognition_margin"):
            with pytest.raises(ConfigError, match=option):
                memory.recall(**question, search=Search(**{option: 1.0}))


def test_a_penalty_that_points_by_another_is_refused(memory):
    class Pointing:
        def __call__(self, masks):
            return masks["h"].sum(-1)

        def pointing(self):
            return self

    with pytest.raises(ConfigError, match="hub couplings"):
        memory.recall(penalty=Pointing())


class Counted:
    """Distance to a mask of each row's own, which counts the rows that it is evaluated for."""

    def __init__(self, wanted, seen):
        self.wanted, self.seen = wanted, seen

    def __call__(self, masks):
        self.seen.append(len(self.wanted))
        return 40 * (masks["h"] - self.wanted).square().mean(-1)


class CountedRows(Counted):
    def of_rows(self, rows):
        return CountedRows(self.wanted[rows], self.seen)


def test_rows_that_are_done_no_longer_go_through_a_penalty_of_rows(memory, masks):
    """Half of the rows are clear after two basins, the others look at all, each by its own part."""
    shares = torch.tensor([0.4, 0.3, 0.2, 0.1])
    blurred = torch.stack([shares, shares.flip(0)]) @ masks[:4].float()
    wanted = torch.cat([masks[:2].float(), blurred])
    options = Search(min_margin=3.0)
    plain, rows = [], []
    expected = memory.recall(penalty=Counted(wanted, plain), batch=4, search=options)
    found = memory.recall(penalty=CountedRows(wanted, rows), batch=4, search=options)
    assert expected.task.tolist() == [0, 1, 0, 3]
    assert found.task.tolist() == expected.task.tolist()
    assert torch.equal(found.masks["h"], expected.masks["h"])
    assert {*plain} == {4}
    assert min(rows) < 4
    assert sum(rows) < sum(plain)


@pytest.mark.parametrize("best", [3, 11, 22, 38])
def test_forgotten_numbers_use_up_no_basins(best):
    """The slope at μ says nothing of the masks held: each has to be visited to be compared."""
    masks = torch.rand(40, BITS, generator=torch.Generator().manual_seed(1)) < 0.5
    memory = memory_of(masks, rule="hebbian")
    held = [3, 11, 22, 38]
    for task in {*range(40)} - {*held}:
        memory.forget(task)
    spins = masks[held].float() * 2 - 1
    slope = torch.randn(BITS, generator=torch.Generator().manual_seed(best))
    slope -= torch.linalg.pinv(spins) @ (spins @ slope)  # nothing along the masks held

    def penalty(m):
        state = 2 * m["h"] - 1
        near = 100 * torch.relu(spins @ state / BITS - 0.9)
        return near.sum() - 2 * near[held.index(best)] + slope @ state / BITS

    hit = memory.recall(penalty=penalty)
    assert hit.verified
    assert hit.task == best


def test_the_weight_of_agreement_and_the_margin_of_recognition_are_options(memory, masks):
    wanted = masks[4].float()

    def penalty(m):
        return (m["h"] - wanted).square().mean()  # at most 1: far below 2 "nats"

    assert memory.recall(penalty=penalty).recognized is False
    assert memory.recall(penalty=penalty, search=Search(recognition_margin=0.1)).recognized is True
