"""Draws how long stacks take to reach a depth, compared with demand paging.

bench/plot_growth FILE.json PICTURE: bench/run --groups=growth --json FILE.json wrote the file. The
ending of the picture's name chooses SVG or PNG.
"""

import argparse
import json
import re
import sys

import matplotlib

matplotlib.use("Agg")  # no display
import matplotlib.pyplot as plt
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

# Markers and kinds of line differ, so that nobody needs the colours. Later ones are drawn on top.
STYLES = {
    "split_stack": dict(color="#777777", marker="*", linestyle=":"),
    "grows_down": dict(color="#56b4e9", marker="X", linestyle=":"),
    "userfault": dict(color="#e69f00", marker="P", linestyle="-."),
    "userfault_signal": dict(color="#cc79a7", marker="v", linestyle="-."),
    "demand_paging_huge": dict(color="black", marker="D", linestyle="--"),
    "pipe_helper": dict(color="#d55e00", marker="o", linestyle="-"),
    "in_handler": dict(color="#0072b2", marker="s", linestyle="-"),
    "guard_markers": dict(color="#009e73", marker="^", linestyle="-"),
}

METRIC = re.compile(r"grow_ratio_(\d+)(KiB|MiB)(_throughput)?")


def ratios(rows):
    """Returns {subject: {depth in KiB: ratio}} for the usual policy, and for throughput."""
    usual, throughput = {}, {}
    for row in rows:
        metric = METRIC.fullmatch(row["metric"])
        if metric and row["value"] is not None:
            number, unit, is_throughput = metric.groups()
            depth = int(number) * (1024 if unit == "MiB" else 1)
            series = throughput if is_throughput else usual
            series.setdefault(row["subject"], {})[depth] = row["value"]
    return usual, throughput


def in_units(kibibytes, _position=None):
    return f"{kibibytes:.0f} KiB" if kibibytes < 1024 else f"{kibibytes / 1024:.0f} MiB"


def number(value, _position=None):
    return f"{value:g}"


def draw_series(axes, series, style, **more):
    """Returns the series' entry for the legend, and its ratio at the greatest depth."""
    depths = sorted(series)
    (line,) = axes.plot(depths, [series[depth] for depth in depths], **{**style, **more})
    return line, series[depths[-1]]


def draw_all(axes, all_series, suffix, **more):
    """Returns the entries for the legend, in the order in which the lines end."""
    drawn = [
        draw_series(axes, all_series[subject], style, label=subject + suffix, **more)
        for subject, style in STYLES.items()
        if subject in all_series
    ]
    return [line for line, _ in sorted(drawn, key=lambda each: each[1], reverse=True)]


def draw_axes(axes, usual):
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    depths = sorted({depth for series in usual.values() for depth in series})
    axes.xaxis.set_major_locator(FixedLocator(depths))
    axes.xaxis.set_major_formatter(FuncFormatter(in_units))
    axes.yaxis.set_major_locator(FixedLocator([0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20]))
    axes.yaxis.set_major_formatter(FuncFormatter(number))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("depth that a fresh stack is touched to")
    axes.set_ylabel("time, demand_paging = 1")
    axes.axhline(1, color="black", linewidth=0.8, zorder=0)
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def draw(usual, throughput, picture):
    matplotlib.rcParams["svg.hashsalt"] = "growstack"  # the same figures make the same picture
    figure, axes = plt.subplots(figsize=(9, 5.5))
    entries = draw_all(axes, usual, "", linewidth=1.4, markersize=6)
    hollow = dict(linestyle="none", markersize=9, markeredgewidth=1.4, markerfacecolor="none")
    entries += draw_all(axes, throughput, ", throughput", **hollow)
    draw_axes(axes, usual)
    axes.legend(handles=entries, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    metadata = {"Date": None} if picture.endswith(".svg") else None
    figure.savefig(picture, dpi=150, bbox_inches="tight", metadata=metadata)


def main():
    as_it_is = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=as_it_is)
    parser.add_argument("file", metavar="FILE.json")
    parser.add_argument("picture", metavar="PICTURE")
    arguments = parser.parse_args()
    if not arguments.picture.endswith((".svg", ".png")):
        parser.error(f"PICTURE must end in .svg or .png: {arguments.picture}")
    with open(arguments.file, encoding="utf-8") as file:
        usual, throughput = ratios(json.load(file))
    if not any(subject in usual for subject in STYLES):
        sys.exit(
            f"plot_growth: {arguments.file} has no ratios of growth. "
            "bench/run --groups=growth --json FILE writes them."
        )
    draw(usual, throughput, arguments.picture)


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError) as error:  # a file that is not JSON is a ValueError
        sys.exit(f"plot_growth: {error}")
