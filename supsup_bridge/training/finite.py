"""Losses that are not finite, and what to do about them."""

from hopmask import NumericalError


def spoiled(loss: float, *, step: int, rate: float) -> str | None:
    """What to say of a loss that is NaN or infinite; None of a finite one.

    Args:
        loss: of a step.
        step: its number, from 1.
        rate: learning rate.

    Example:
        >>> spoiled(0.5, step=1, rate=0.01) is None
        True
    """
    if abs(loss) < float("inf"):
        return None
    return (
        f"the loss became {loss} at step {step}: lower the learning rate ({rate}) or check the "
        "images for NaN"
    )


def check_loss(loss: float, *, step: int, rate: float) -> None:
    """Raise NumericalError for a loss that is not finite; arguments as of `spoiled`."""
    if fault := spoiled(loss, step=step, rate=rate):
        raise NumericalError(f"{fault}. The task was not learned")
