"""What the tests of runs share."""

import json

import pytest

from supsup_bridge.runs.finished_run import FinishedRun


@pytest.fixture
def run(finished):
    """Name and settings -> a finished run, as read from its folder."""

    def made(name: str = "first", **changes) -> FinishedRun:
        experiment = finished(**changes)
        result = json.loads(json.dumps(experiment.result()))
        return FinishedRun(name=name, result=result, settings=experiment.settings)

    return made
