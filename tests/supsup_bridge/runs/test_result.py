"""result.json: what a run reports of itself."""

import torch


def test_config_names_the_network_that_was_used(finished) -> None:
    result = finished().result()
    assert result["config"]["network"] == result["network"] == "lenet-300-100"


def test_tasks_are_named_and_their_images_counted(finished) -> None:
    experiment = finished(tasks=3)
    result, tasks = experiment.result(), experiment.stream[:3]
    assert result["task_names"] == [task.name for task in tasks]
    assert result["images"] == {
        "train": [len(task.train_labels) for task in tasks],
        "inference": [len(task.inference_images) for task in tasks],
        "scored": [len(task.scored_labels) for task in tasks],
    }


def test_the_number_of_threads_is_kept(finished) -> None:
    assert finished().result()["config"]["threads"] == torch.get_num_threads()


def test_config_has_the_interval_of_novelty_tests_only_where_there_are_any(finished) -> None:
    assert finished(scenario="NNs").result()["config"]["ask_every"] == 20
    assert finished().result()["config"]["ask_every"] is None


def test_figures_per_task_average_to_those_of_all(finished) -> None:
    for changes in ({}, {"scenario": "GG"}):
        result = finished(tasks=3, **changes).result()
        given = result["per_task"]["accuracy_given_task"]
        assert len(given) == 3
        assert sum(given) / 3 == result["accuracy_given_task"]
