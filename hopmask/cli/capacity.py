"""`hopmask capacity`: how many masks a learning rule holds, as a table, a plot and JSON."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from textwrap import wrap
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from rich.console import Console
from rich.status import Status
from rich.table import Table

from hopmask import capacity
from hopmask.capacity.damage import KINDS, Damage
from hopmask.capacity.mask_files import read_masks
from hopmask.capacity.mask_sources import Ensemble, RandomMasks
from hopmask.capacity.measurement import Capacity, Point
from hopmask.capacity.theory import Limit
from hopmask.couplings.rules import rule_named
from hopmask.errors import ConfigError, HopmaskError

_POINTS = 12  # of a curve
_BEYOND = 1.4  # where a curve ends, in capacities
_STYLES, _MARKERS = ("-", "--", "-.", ":"), ("o", "s", "^", "D")


def _capacity(options: argparse.Namespace, console: Console, errors: Console) -> None:
    given = options.damage or ["flips:0.1", "erasures:0.5"]
    damages = list(dict.fromkeys(_damage(text) for text in given))
    masks, what, usual = _masks(options)
    rules = [rule_named(rule) for rule in dict.fromkeys(options.rule or [usual])]
    limits = capacity.limits(masks.size)
    _writable(options.plot, "--plot")
    if options.plot.suffix.lstrip(".") not in FigureCanvasAgg.get_supported_filetypes():
        raise ConfigError(f"--plot {options.plot}: no such format; use .png, .svg or .pdf")
    if options.json:
        _writable(options.json, "--json")
    written = [path.resolve() for path in (options.plot, options.json) if path]
    read = [Path(options.masks).resolve()] if options.masks else []
    if len({*written, *read}) < len(written) + len(read):
        raise ConfigError("--masks, --json and --plot name one file: give each its own")
    found, points = [], []
    for rule in rules:
        common = {"trials": options.trials, "seed": options.seed, "device": options.device}
        for damage in damages:
            with errors.status("") as status:
                show = partial(_show, status, f"{rule.name}, {damage}", options.trials)
                one = capacity.measure(
                    rule,
                    masks,
                    damage=damage,
                    recalled=options.recalled,
                    progress=show,
                    **common,
                )
            errors.print(str(one), markup=False)
            found.append(one)
    console.print(
        f"Capacity: {what}; {100 * options.recalled:g}% recalled bit for bit", markup=False
    )
    console.print(_table(found, options))
    known = {rule.name for rule in rules}
    limits = [limit for limit in limits if limit.rule in known]
    if limits:
        console.print("In theory, for independent random patterns and many spins, n:")
        console.print(_limits(limits))
    for rule in rules:
        most = max(_BEYOND * one.patterns for one in found if one.rule == rule.name)
        counts = {max(1, round(most * (i + 1) / _POINTS)) for i in range(_POINTS)}
        with errors.status(f"{rule.name}: curve"):
            points += capacity.curve(rule, masks, sorted(counts), damages=damages, **common)
    if options.json:
        results = {
            "masks": what,
            "recalled": options.recalled,
            "seed": options.seed,
            **{
                name: [asdict(one) for one in rows]
                for name, rows in (("capacity", found), ("curve", points), ("limits", limits))
            },
        }
        options.json.write_text(json.dumps(results, indent=1, allow_nan=False) + "\n")
        console.print(f"figures: {options.json}", markup=False)
    _plot(points, found, what).savefig(options.plot, dpi=110)
    console.print(f"plot: {options.plot}", markup=False)


def _show(status: Status, name: str, trials: int, trial: int, patterns: int) -> None:
    status.update(f"{name}: draw {trial + 1} of {trials}, {patterns} patterns")


def _masks(options: argparse.Namespace) -> tuple[Ensemble, str, str]:
    """Where patterns come from, a text that says so, and the rule to measure by default."""
    if options.masks is None:
        size = 512 if options.d is None else options.d
        density = 0.5 if options.density is None else options.density
        random = RandomMasks(size=size, density=density, overlap=options.overlap)
        what = f"random masks of {size} bits, density {density:g}"
        what += "" if options.overlap is None else f", overlap {options.overlap:g}"
        return random, what, "storkey"
    if options.density is not None or options.overlap is not None:
        raise ConfigError(
            "--density and --overlap are of random masks, and --masks names given ones"
        )
    file = read_masks(options.masks)
    if options.d not in (None, file.masks.size):
        raise ConfigError(f"{options.masks} holds {file.masks.size} bits, --d says {options.d}")
    return file.masks, f"{options.masks.name}, {file.what}", file.rule or "storkey"


def _damage(text: str) -> Damage:
    kind, _, share = text.partition(":")
    try:
        return Damage(kind=kind, share=float(share))
    except ValueError as error:
        if isinstance(error, HopmaskError):
            raise
        raise ConfigError(
            f"--damage takes KIND:SHARE with a kind of {', '.join(KINDS)}, such as flips:0.1, got "
            f"{text!r}"
        ) from error


def _table(found: Sequence[Capacity], options: argparse.Namespace) -> Table:
    table = Table(caption_justify="left")
    for column in ("rule", "damage"):
        table.add_column(column)
    for column in ("patterns", "95 % interval", "load"):
        table.add_column(column, justify="right")
    for one in found:
        table.add_row(
            one.rule,
            str(one.damage),
            f"≥ {one.patterns:.1f}" if one.censored else f"{one.patterns:.1f}",
            "all there are" if one.censored else f"{one.low:.1f} – {one.high:.1f}",
            f"{one.load:.4f}",
        )
    table.caption = f"mean of {options.trials} draws, seed {options.seed}; recall as in hopmask"
    return table


def _limits(limits: Sequence[Limit]) -> Table:
    table = Table()
    for column in ("rule", "limit"):
        table.add_column(column)
    table.add_column("patterns", justify="right")
    for column in ("of what", "source"):
        table.add_column(column)
    for limit in limits:
        table.add_row(
            limit.rule, limit.formula, f"{limit.patterns:.1f}", limit.meaning, limit.source
        )
    return table


def _plot(points: Sequence[Point], found: Sequence[Capacity], what: str) -> Figure:
    """Share recalled over load: a colour per rule, a line and marker per damage; capacities."""
    figure = Figure(figsize=(7.2, 5.4), layout="constrained")
    FigureCanvasAgg(figure)
    axis = figure.subplots()
    rules = list(dict.fromkeys(point.rule for point in points))
    damages = list(dict.fromkeys(point.damage for point in points))
    for one in found:
        color, kind = f"C{rules.index(one.rule)}", damages.index(one.damage)
        line = [p for p in points if (p.rule, p.damage) == (one.rule, one.damage)]
        loads = [point.load for point in line]
        axis.plot(
            loads,
            [point.recalled for point in line],
            _STYLES[kind % len(_STYLES)],
            color=color,
            linewidth=max(1.2, 4 - 1.4 * kind),  # a line on another shows above a wider one
            alpha=0.6 if kind == 0 else 1,
            marker=_MARKERS[kind % len(_MARKERS)],
            markersize=max(4, 8 - 2 * kind),
            label=f"{one.rule}, {one.damage}: capacity {one.patterns:.0f} masks",
        )
        low, high = [point.low for point in line], [point.high for point in line]
        axis.fill_between(loads, low, high, color=color, alpha=0.12, linewidth=0)
        axis.plot(
            [one.load], [one.recalled], marker="|", markersize=16, markeredgewidth=2, color=color
        )
    wanted = found[0].recalled  # the same for all
    axis.axhline(wanted, color="grey", linewidth=0.8, linestyle=":")
    axis.set_xlim(left=0)
    axis.set_xlabel("load: masks stored / bits of a mask")
    axis.set_ylabel("share of the masks recalled bit for bit")
    axis.set_title("\n".join(wrap(what, 80)), fontsize=9)
    axis.set_ylim(-0.03, 1.03)
    axis.grid(alpha=0.3)
    handles = [
        *axis.get_legend_handles_labels()[0],
        Patch(color="grey", alpha=0.2, label="bands: 95 % intervals (Wilson) of the share"),
        Line2D(
            [],
            [],
            color="grey",
            linestyle=":",
            marker="|",
            markersize=12,
            markeredgewidth=2,
            label=f"ticks: capacity, the most masks of which {100 * wanted:g} % come back",
        ),
    ]
    figure.legend(handles=handles, loc="outside lower center", fontsize=8, frameon=False, ncols=2)
    return figure


def _writable(path: Path, option: str) -> None:
    if path.is_dir() or not path.parent.is_dir():
        raise ConfigError(f"cannot write {path}: give {option} a file in a folder that exists")


def add_commands(commands: Any) -> None:
    """Add the command to the parser of `hopmask`; its `run` takes the options and two consoles."""
    command = commands.add_parser(
        "capacity",
        help="how many masks a learning rule holds",
        description="The largest number of masks that come back from damaged cues, with a 95 % "
        "interval (Student's t over the draws), theoretical limits beside it, and a plot of the "
        "share recalled over the load. --rule and --damage may be repeated.",
    )
    command.set_defaults(run=_capacity)
    add = command.add_argument
    add("--d", type=int, help="bits per mask (default: 512, or those of --masks)")
    add(
        "--rule",
        action="append",
        help="storkey, storkey-matrix, hebbian, projection (default: storkey, or the memory's own)",
    )
    add(
        "--damage",
        action="append",
        metavar="KIND:SHARE",
        help=f"of the cues: {', '.join(KINDS)} (default: flips:0.1 and erasures:0.5)",
    )
    add("--density", type=float, help="share of bits that are set (0.5)")
    add("--overlap", type=float, help="of the spins of two masks (default: independent masks)")
    add(
        "--masks",
        type=Path,
        metavar="FILE",
        help="your own masks, .npz or HDF5 with an array (masks, *shape) per layer, or a memory.h5 "
        "whose statistics are taken",
    )
    add("--recalled", type=float, default=0.9, help="share that must come back (%(default)s)")
    add("--trials", type=int, default=5, help="draws of masks (%(default)s)")
    add("--seed", type=int, default=0, help="of draws and damage (%(default)s)")
    add("--plot", type=Path, default=Path("capacity.png"), help="where to (%(default)s)")
    add("--json", type=Path, help="write all figures there too")
    add("--device", default="cpu", help="cpu (default) or cuda")
