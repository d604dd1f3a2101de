"""Which code makes the learner of a run: this package's, or Avalanche's."""

from hopmask.errors import MissingDependencyError
from supsup_bridge.continual.baselines.named import baseline_named
from supsup_bridge.runs.baseline_run import Made
from supsup_bridge.runs.learners import RIVALS


def maker_of(learner: str) -> Made:
    """What makes a baseline of this name, for `BaselineRun`.

    Args:
        learner: a name; one that nobody knows is refused when the learner is made.

    Raises:
        MissingDependencyError: Avalanche is needed and not installed.

    Example:
        >>> maker_of("psp").__name__
        'baseline_named'
    """
    if learner not in RIVALS:
        return baseline_named
    try:
        from supsup_bridge.adapters.rivals.baseline import rival_named
    except ImportError as error:
        raise MissingDependencyError(
            f"learner {learner} is Avalanche's, and needs a package that is not installed "
            f"({error}): python -m pip install 'hopmask[rivals]'"
        ) from error
    return rival_named
