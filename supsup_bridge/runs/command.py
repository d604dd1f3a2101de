"""The command line that has given settings."""

import shlex
from dataclasses import fields

from supsup_bridge.runs.settings import RunSettings


def command_of(settings: RunSettings) -> str:
    """The `supsup run` that has these settings; options that are defaults are left out.

    Folders (`--data`, `--out`) are no settings, so that the command goes without. Runs of workers
    get `--jobs 1`: any number gives the same result.

    Example:
        >>> command_of(RunSettings(benchmark="split-mnist", infer_samples=64, quick=True))
        'supsup run split-mnist --infer-samples 64 --quick'
    """
    usual = RunSettings(benchmark=settings.benchmark)
    words = ["supsup", "run", settings.benchmark]
    for field in fields(settings):
        value = getattr(settings, field.name)
        if field.name == "benchmark" or value == getattr(usual, field.name):
            continue
        if field.name == "workers":
            words += option("jobs", 1)
        else:
            words += option(field.name, value)
    return shlex.join(words)


def option(name: str, value: object) -> list[str]:
    """The words of an option; a value that would be taken for another option is tied to its name.

    Example:
        >>> option("mask_init", "mean"), option("quick", True), option("out", "-x")
        (['--mask-init', 'mean'], ['--quick'], ['--out=-x'])
    """
    flag, text = "--" + name.replace("_", "-"), str(value)
    if value is True:
        return [flag]
    return [f"{flag}={text}"] if text.startswith("-") else [flag, text]
