"""The report's figures as inline SVG: they use the page's colours and need no other file."""

import io
import json
import re
from collections.abc import Sequence
from math import ceil, isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from errata.config.variants import BASE, Variant
from errata.reporting.examples import Retries
from errata.scoring.score import Score

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Matplotlib needs real colours; the page needs variables that differ between light and dark mode. These placeholder
# colours occur nowhere else and are replaced in the finished SVG.
INK = "#010203"
FAINT = "#010204"
LIMIT = "#010205"
SERIES = ("#010211", "#010212", "#010213", "#010214", "#010215")
VARIABLES = {
    INK: "currentColor",
    FAINT: "var(--faint)",
    LIMIT: "var(--limit)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, 1)},
}
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.size": 10,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": FAINT,
    "grid.linewidth": 0.4,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
}
MARKERS = {None: "o", 2: "v", 3: "^", 4: "s", 8: "P"}
DASHES = ("-", "--", "-.", ":")


class Loss(NamedTuple):
    """Loss of a training by step; `skipped` counts unusable lines of its log."""

    training: list[tuple[int, float]]
    evaluation: list[tuple[int, float]]
    skipped: int


def read_loss(path: Path) -> Loss:
    """Read LLaMA-Factory's trainer_log.jsonl. A killed training may leave a broken line in it.

    A resumed training logs some steps again: the last entry of a step counts.
    """
    training: dict[int, float] = {}
    evaluation: dict[int, float] = {}
    skipped = 0
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
            step = int(row["current_steps"])
            values = {name: float(row[name]) for name in ("loss", "eval_loss") if row.get(name) is not None}
        except (ValueError, KeyError, TypeError, AttributeError):
            skipped += bool(line.strip())
            continue
        skipped += not all(isfinite(value) for value in values.values())
        for name, series in (("loss", training), ("eval_loss", evaluation)):
            if name in values and isfinite(values[name]):
                series[step] = values[name]
    return Loss(sorted(training.items()), sorted(evaluation.items()), skipped)


def _to_svg(figure: "Figure", name: str, label: str) -> str:
    """A figure as an SVG element.

    Args:
        name: prefix of its ids, which must be unique in the page.
        label: text for screen readers.
    """
    from markupsafe import escape
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({**STYLE, "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.03)
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="([^"]*)"', head)
    svg = f'<svg viewBox="{box[1] if box else ""}" role="img" aria-label="{escape(label)}">{body}'
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-").replace('xlink:href="#', f'href="#{name}-')
    svg = re.sub(r"(font: [^;\"]*px) [^;\"]*", r"\1 system-ui, sans-serif", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, variable)
    return svg


def _new_figure(width: float, height: float) -> "Figure":
    """An empty figure, sizes in inches; small, so that its text is readable on a phone."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def size_figure(scores: Sequence[Score], budgets: dict[int, float], strategies: Sequence[str], name: str) -> str:
    """Accuracy against checkpoint size with error bars; memory limits are vertical lines.

    Args:
        scores: scored variants of one model on one split, each with a size and an accuracy.
        budgets: limits in GiB, by number of bits.
        strategies: in the configuration's order, which decides their colours.
        name: prefix of the SVG's ids.
    """
    from matplotlib import rc_context

    sizes = [score.weights_gib or 0.0 for score in scores]
    limits = sorted(set(budgets.values()))
    # Limits that are far from all sizes get their own panel behind a break of the axis. On one axis, the sizes or the
    # limits would collapse into a line.
    broken = bool(limits) and (limits[0] > 3 * max(sizes) or limits[-1] < min(sizes) / 3)
    with rc_context(STYLE):
        figure = _new_figure(4.2, 3.5 + 0.2 * ceil(len(scores) / 4))
        if broken:
            right = limits[0] > max(sizes)
            panels = figure.subplots(1, 2, sharey=True, width_ratios=[4, 1.3] if right else [1.3, 4])
            main, side = (panels[0], panels[1]) if right else (panels[1], panels[0])
            _mark_break(panels[0], panels[1])
            _scale_size_axis(main, sizes)
            side.set_xlim(limits[0] * 0.8, limits[-1] * 1.25)
            side.set_xticks(limits, [f"{limit:g}" for limit in limits])
        else:
            main = side = figure.subplots()
            panels = [main]
            _scale_size_axis(main, [*sizes, *limits])
        _draw_limits(side, budgets, leftward=broken and side is panels[-1])
        _draw_points(main, scores, strategies, limits)
        # room for the names of the limits, which are not part of the layout
        main.set_title("\n" * len(limits), fontsize=9)
        main.set_xlabel("weights in GiB")
        panels[0].set_ylabel("accuracy in %")
        handles, labels = main.get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower left", ncols=4, columnspacing=1.0, handletextpad=0.2)
        label = "; ".join(
            f"{score.variant}: {100 * (score.accuracy or 0):.1f} % at {size:.3g} GiB"
            for score, size in zip(scores, sizes, strict=True)
        )
        return _to_svg(figure, name, f"Accuracy against size of the weights. {label}.")


def spread(places: Sequence[float], walls: Sequence[float]) -> list[float]:
    """Move marks that would hide each other apart, but none across a wall.

    Args:
        places: of the marks, as fractions of the axis.
        walls: places of the memory limits: a mark moved across one would seem to exceed the limit.
    """
    moved = list(places)
    rest = sorted(range(len(places)), key=lambda index: places[index])
    while rest:
        start = places[rest[0]]
        end = min([start + 0.02, *(wall for wall in walls if wall >= start)])
        group = sorted(index for index in rest if places[index] <= end)
        rest = [index for index in rest if index not in group]
        low, high = min(places[index] for index in group), max(places[index] for index in group)
        room_below = low - max((wall for wall in walls if wall < low), default=-1.0)
        room_above = min((wall for wall in walls if wall >= high), default=2.0) - high
        step = min(0.025, 0.9 * max(room_below, room_above) / len(group))
        for number, index in enumerate(group):
            moved[index] = high + number * step if room_above > room_below else low - (len(group) - 1 - number) * step
    return moved


def _draw_points(axes: "Axes", scores: Sequence[Score], strategies: Sequence[str], limits: Sequence[float]) -> None:
    """Draw the variants: the colour shows the strategy, the marker shows the bits, hollow ones are majority votes."""
    scale = axes.transScale + axes.transLimits
    places = [float(scale.transform((score.weights_gib or 0.0, 0.0))[0]) for score in scores]
    walls = [float(scale.transform((limit, 0.0))[0]) for limit in limits]
    for score, place in zip(scores, spread(places, walls), strict=True):
        variant = Variant.parse(score.variant)
        number = list(strategies).index(variant.strategy) if variant.strategy in strategies else len(strategies)
        colour = INK if variant.strategy == BASE else SERIES[number % len(SERIES)]
        accuracy = 100 * (score.accuracy or 0.0)
        axes.errorbar(
            [scale.inverted().transform((place, 0.0))[0]],
            [accuracy],
            yerr=[[accuracy - 100 * (score.ci_low or 0.0)], [100 * (score.ci_high or 0.0) - accuracy]],
            fmt=MARKERS.get(variant.bits, "D"),
            color=colour,
            fillstyle="full" if variant.votes is None else "none",
            markersize=6,
            capsize=2.5,
            elinewidth=1.3,
            label=score.variant,
        )
    bounds = [100 * bound for score in scores for bound in (score.ci_low or 0.0, score.ci_high or 0.0)]
    axes.set_ylim(max(-2.0, min(bounds) - 4), min(102.0, max(bounds) + 4))


def _scale_size_axis(axes: "Axes", values: Sequence[float]) -> None:
    """Scale the size axis: linear for values close to each other, otherwise logarithmic with round ticks."""
    low, high = min(values), max(values)
    if high < 4 * low:
        margin = 0.25 * (high - low) or 0.25 * high or 1.0
        axes.set_xlim(low - margin, high + margin)
        axes.locator_params(axis="x", nbins=5)
        return
    axes.set_xscale("log")
    low, high = low / 1.4, high * 1.5
    axes.set_xlim(low, high)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [step * 10.0**power for power in range(-6, 7) for step in steps]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            break
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)


def _draw_limits(axes: "Axes", budgets: dict[int, float], leftward: bool) -> None:
    """Draw the memory limits. Each name has its own line above the axes, as limits may be close to each other."""
    from matplotlib.transforms import blended_transform_factory

    limits = sorted(set(budgets.values()))
    if not limits:
        return
    low, high = axes.get_xlim()
    leftward = leftward or limits[0] - low > high - limits[-1]
    for place, limit in enumerate(limits):
        top = 1.02 + 0.06 * (place if leftward else len(limits) - 1 - place)
        where = blended_transform_factory(axes.transData, axes.transAxes)
        axes.plot([limit, limit], [0, top + 0.04], color=LIMIT, lw=1.2, ls=(0, (5, 3)), transform=where, clip_on=False)
        bits = " and ".join(str(bit) for bit in sorted(budgets) if budgets[bit] == limit)
        text = axes.annotate(
            f"{bits}-bit limit: {limit:g} GiB",
            (limit, top),
            xycoords=where,
            xytext=(-4 if leftward else 4, 0),
            textcoords="offset points",
            ha="right" if leftward else "left",
            va="bottom",
            fontsize=9,
            color=LIMIT,
        )
        text.set_in_layout(False)


def _mark_break(left: "Axes", right: "Axes") -> None:
    """Mark the break of the axis between two panels."""
    right.spines["left"].set_visible(False)
    right.tick_params(axis="y", length=0)
    mark: dict[str, Any] = {
        "marker": [(-0.5, -1), (0.5, 1)],
        "markersize": 7,
        "linestyle": "none",
        "color": INK,
        "clip_on": False,
    }
    left.plot([1], [0], transform=left.transAxes, **mark)
    right.plot([0], [0], transform=right.transAxes, **mark)


def retries_figure(retries: Sequence[Retries], strategies: Sequence[str], name: str) -> str:
    """Questions solved by the n-th attempt: one line for the strategies that share the attempts."""
    from matplotlib import rc_context
    from matplotlib.ticker import MaxNLocator

    with rc_context(STYLE):
        figure = _new_figure(4.2, 2.9)
        axes = figure.subplots()
        for each in retries:
            place = list(strategies).index(each.strategies[0])
            curve = [0, *each.solved_by]
            axes.plot(
                range(len(curve)),
                curve,
                DASHES[place % len(DASHES)],
                marker="o",
                markersize=4,
                color=SERIES[place % len(SERIES)],
                label=each.name,
            )
        totals = sorted({each.questions for each in retries})
        for total in totals:
            axes.axhline(total, color=LIMIT, linewidth=1.2, linestyle=(0, (5, 3)))
            axes.annotate(
                f"asked: {total}",
                (0.01, total),
                xycoords=("axes fraction", "data"),
                xytext=(0, 3),
                textcoords="offset points",
                fontsize=9,
                color=LIMIT,
            )
        axes.set_ylim(0, max(totals[-1], 1) * 1.12)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("attempts")
        axes.set_ylabel("questions solved")
        if len(retries) > 1:
            axes.legend(loc="best")
        label = "; ".join(f"{each.name}: {', '.join(map(str, each.solved_by))}" for each in retries)
        return _to_svg(figure, name, f"Questions solved by the first, second, ... attempt. {label}.")


def loss_figure(loss: Loss, colour: int, name: str) -> str:
    """Training loss of one training by step, and evaluation loss where there is one."""
    from matplotlib import rc_context
    from matplotlib.ticker import MaxNLocator

    with rc_context(STYLE):
        figure = _new_figure(4.2, 2.9)
        axes = figure.subplots()
        texts = []
        for series, title, style, shade in (
            (loss.training, "training", "-", SERIES[colour % len(SERIES)]),
            (loss.evaluation, "evaluation", "--", INK),
        ):
            if series:
                steps, values = zip(*series, strict=True)
                axes.plot(steps, values, style, marker="o", markersize=3, color=shade, label=title)
                texts.append(f"{title}: {values[0]:.3g} at step {steps[0]}, {values[-1]:.3g} at step {steps[-1]}")
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("step")
        axes.set_ylabel("loss")
        axes.legend(loc="best")
        return _to_svg(figure, name, f"Loss by step. {'; '.join(texts)}.")
