#!/usr/bin/env python3
"""Turns the measures of benches/http/run into its table, docs/performance.md and the plot.

report.py MEASURES IFMATCH COMMAND [--write FOLDER]

Each line of MEASURES is one measurement, its fields separated by tabs:
  slice ROUND SERVER LOAD CONNECTIONS RATE P50_US P99_US
  start KEYS MICROSECONDS
  memory KEYS start|end RSS_KB PEAK_KB
  growth ROUND KEYS LOAD RATE
  written KEYS BYTES COMMITS BYTES_PER_ENTRY
"""

import argparse
import datetime
import math
import os
import platform
import re
import subprocess
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

HERE = Path(__file__).resolve().parent

ROWS = [
    ("ifmatch", "get", "ifmatch: GET"),
    ("ifmatch", "get-304", "ifmatch: GET with If-None-Match, 304"),
    ("ifmatch", "put", "ifmatch: durable PUT"),
    ("ifmatch", "put-if-match", "ifmatch: durable PUT with If-Match"),
    ("ifmatch", "patch", "ifmatch: durable PATCH"),
    ("bare", "get", "bare axum: GET"),
    ("etcd", "get", "etcd: range, JSON gateway"),
    ("etcd", "put", "etcd: durable put, JSON gateway"),
    ("redis", "set", "Redis: durable SET"),
]

RATE, P50 = 0, 1
# The figure of a slice, our load, the other's, the connections, the target.
RATIOS = [
    (RATE, ("ifmatch", "get"), ("bare", "get"), 64, (">=", 0.9)),
    (RATE, ("ifmatch", "put-if-match"), ("etcd", "put"), 64, (">=", 4)),
    (RATE, ("ifmatch", "put-if-match"), ("redis", "set"), 64, (">=", 0.6)),
    (P50, ("ifmatch", "put"), ("etcd", "put"), 1, ("<=", 0.8)),
]
GROWTH_TARGETS = {"put": (">=", 0.8), "start": ("<=", 2), "rss": ("<", 400)}


class Measures:
    """What was measured, by kind and then by what it was measured of."""

    def __init__(self, path):
        self.slices = defaultdict(dict)
        self.starts = defaultdict(list)
        self.memory = {}
        self.growth = defaultdict(dict)
        self.written = {}
        for line in Path(path).read_text().splitlines():
            kind, *fields = line.split("\t")
            if kind == "slice":
                round_, server, load, connections, *figures = fields
                self.slices[server, load, int(connections)][int(round_)] = tuple(map(float, figures))
            elif kind == "start":
                self.starts[int(fields[0])].append(int(fields[1]) / 1e6)
            elif kind == "memory":
                self.memory[int(fields[0]), fields[1]] = (int(fields[2]) / 1024, int(fields[3]) / 1024)
            elif kind == "growth":
                self.growth[int(fields[1]), fields[2]][int(fields[0])] = float(fields[3])
            elif kind == "written":
                size, written, commits, entry = map(int, fields)
                self.written[size] = written / (commits * entry) if commits else math.nan

    def middle(self, slice_, figure):
        return median(figures[figure] for figures in self.slices[slice_].values())

    def ratios(self, figure, ours, theirs):
        theirs = self.slices[theirs]
        return [a[figure] / theirs[round_][figure] for round_, a in self.slices[ours].items()]

    def relative(self, size, load):
        """The ratios of each round to the smallest store."""
        base = self.growth[min(self.sizes()), load]
        return [rate / base[round_] for round_, rate in self.growth[size, load].items()]

    def sizes(self):
        return sorted(self.starts)


def count(number):
    return f"{number:,.0f}" if number >= 10 else f"{number:.1f}"


def ratio(number):
    return f"{number:.2f}" if number < 10 else f"{number:.1f}"


def row(title, figure, text, target):
    """A figure with its target beside it, and whether that holds."""
    sign, limit = target
    held = {">=": figure >= limit, "<=": figure <= limit, "<": figure < limit}[sign]
    sign = {">=": "≥", "<=": "≤", "<": "<"}[sign]
    return f"| {title} | {text} | {sign} {limit:g} | {'yes' if held else 'no'} |"


def row_of_rounds(title, rounds, target):
    text = f"{ratio(median(rounds))} ({ratio(min(rounds))} to {ratio(max(rounds))})"
    return row(title, median(rounds), text, target)


def ratios(measures):
    yield "| compared | figure | target | met |"
    yield "| --- | ---: | ---: | --- |"
    titles = {(server, load): title for server, load, title in ROWS}
    for figure, ours, theirs, connections, target in RATIOS:
        what = "requests/s" if figure == RATE else "p50"
        counted = "1 connection" if connections == 1 else f"{connections} connections"
        title = f"{titles[ours]} / {titles[theirs]}, {what} at {counted}"
        rounds = measures.ratios(figure, (*ours, connections), (*theirs, connections))
        yield row_of_rounds(title, rounds, target)
    few, many = min(measures.sizes()), max(measures.sizes())
    title = f"ifmatch: durable PUT with {many:,} keys / {few:,} keys, requests/s at 64 connections"
    yield row_of_rounds(title, measures.relative(many, "put"), GROWTH_TARGETS["put"])
    start = median(measures.starts[many])
    yield row(f"ifmatch: start-up with {many:,} keys, s", start, f"{start:.2f}", GROWTH_TARGETS["start"])
    rss = measures.memory[many, "start"][0]
    title = f"ifmatch: resident memory with {many:,} keys, MiB"
    yield row(title, rss, f"{rss:.0f}", GROWTH_TARGETS["rss"])


def side_by_side(measures):
    columns = [f"{what}, {n} conn." for n in (1, 64) for what in ("requests/s", "p50 µs", "p99 µs")]
    yield f"| | {' | '.join(columns)} |"
    yield f"| --- |{' ---: |' * len(columns)}"
    for server, load, title in ROWS:
        cells = (
            count(measures.middle((server, load, connections), figure))
            for connections in (1, 64)
            for figure in range(3)
        )
        yield f"| {title} | {' | '.join(cells)} |"


def growth(measures):
    columns = ["keys", "start-up s", "MiB after start", "peak", "MiB after load", "peak"]
    columns += ["GET/s", "PUT/s", "PUT/s to 1st row", "bytes to disk per byte committed"]
    yield f"| {' | '.join(columns)} |"
    yield f"|{' ---: |' * len(columns)}"
    for size in measures.sizes():
        cells = [
            f"{size:,}",
            f"{median(measures.starts[size]):.3f}",
            *(count(mib) for mib in measures.memory[size, "start"]),
            *(count(mib) for mib in measures.memory[size, "end"]),
            count(median(measures.growth[size, "get"].values())),
            count(median(measures.growth[size, "put"].values())),
            ratio(median(measures.relative(size, "put"))),
            count(measures.written[size]),
        ]
        yield f"| {' | '.join(cells)} |"


def output(*command):
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.stdout


def versions(ifmatch):
    """Name and version of each program that took part."""
    found = [output(ifmatch, "--version").strip()]
    for name, command in [
        ("etcd", ("etcd", "--version")),
        ("Redis", ("redis-server", "--version")),
        ("wrk", ("wrk", "-v")),
    ]:
        version = re.search(r"\d+\.\d+[.\d]*", output(*command))
        found.append(f"{name} {version.group() if version else 'unknown'}")
    return ", ".join(found)


def machine(folder):
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    model = " ".join(model.group(1).split()) if model else platform.machine()
    cores = len(os.sched_getaffinity(0))
    file_system = output("df", "--output=fstype", folder).split()[-1]
    return (
        f"{cores} cores of {model}, Linux {platform.release().split('-')[0]}, {file_system}, "
        f"{sync_microseconds(folder):,.0f} µs to append 4 KiB and fdatasync"
    )


def sync_microseconds(folder, times=200):
    """The median of what the disk takes, without which no durable figure can be read."""
    path = Path(folder, "sync")
    taken = []
    with open(path, "wb", buffering=0) as file:
        for _ in range(times):
            file.write(b"x" * 4096)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    path.unlink()
    return median(taken) * 1e6


# --- The plot -------------------------------------------------------------------------------

STYLE = """
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .title { font-weight: 600; font-size: 14px }
  .grid { stroke: #d1d9e0 } .target { stroke: #6e7781; stroke-dasharray: 4 4 }
  .a { --series: #0969da } .b { --series: #bc4c00 }
  polyline { fill: none; stroke: var(--series); stroke-width: 2.5 }
  circle, text.a, text.b { fill: var(--series) }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .grid { stroke: #3d444d } .target { stroke: #9198a1 }
    .a { --series: #4493f8 } .b { --series: #f0883e }
  }
"""


def nice_top(value):
    """The smallest of 1, 1.2, 1.5, 2, 3, 4, 5, 6, 8 times a power of ten that is not below `value`."""
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 1.2, 1.5, 2, 3, 4, 5, 6, 8, 10) if step * power >= value * 0.999)


def panel(left, title, series, sizes, target):
    """One plot of 240 by 200 at `left`: `series` is (class, name, figures), `target` a dashed line."""
    width, height, top_edge = 240, 200, 48
    top = nice_top(max([target, *(figure for _, _, figures in series for figure in figures)]))
    first, last = math.log10(sizes[0]), math.log10(sizes[-1])

    def x(size):
        return left + (math.log10(size) - first) / (last - first) * width

    def y(figure):
        return top_edge + height - figure / top * height

    yield f'<text class="title" x="{left}" y="24">{title}</text>'
    for step in range(5):
        at = top * step / 4
        yield f'<line class="grid" x1="{left}" x2="{left + width}" y1="{y(at):.1f}" y2="{y(at):.1f}"/>'
        yield f'<text x="{left - 8}" y="{y(at) + 4:.1f}" text-anchor="end">{at:g}</text>'
    for power in range(math.ceil(first), math.floor(last) + 1):
        name = {3: "1k", 4: "10k", 5: "100k", 6: "1M"}.get(power, f"1e{power}")
        yield f'<text x="{x(10**power):.1f}" y="{top_edge + height + 20}" text-anchor="middle">{name}</text>'
    yield f'<line class="target" x1="{left}" x2="{left + width}" y1="{y(target):.1f}" y2="{y(target):.1f}"/>'
    for place, (class_, name, figures) in enumerate(series):
        points = [(x(size), y(figure)) for size, figure in zip(sizes, figures)]
        yield f'<g class="{class_}"><polyline points="{" ".join(f"{a:.1f},{b:.1f}" for a, b in points)}"/>'
        for (a, b), figure in zip(points, figures):
            yield f'<circle cx="{a:.1f}" cy="{b:.1f}" r="4"><title>{name}: {figure:.3g}</title></circle>'
        yield "</g>"
        if len(series) > 1:
            yield f'<text class="{class_}" x="{left + 8 + 60 * place}" y="{top_edge + height - 8}">{name}</text>'


def plot(measures):
    sizes = measures.sizes()
    put, get = ([median(measures.relative(size, load)) for size in sizes] for load in ("put", "get"))
    start = [median(measures.starts[size]) for size in sizes]
    rss = [measures.memory[size, "start"][0] for size in sizes]
    panels = [
        ("Requests/s, relative to 1k keys", [("a", "PUT", put), ("b", "GET", get)], "put"),
        ("Start-up, s", [("a", "start-up", start)], "start"),
        ("Resident memory, MiB", [("a", "resident", rss)], "rss"),
    ]
    yield '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 312" role="img">'
    yield "<title>Growth with the number of keys</title>"
    yield f"<style>{STYLE}</style>"
    for place, (title, series, target) in enumerate(panels):
        yield from panel(48 + 320 * place, title, series, sizes, GROWTH_TARGETS[target][1])
    yield '<text x="480" y="300" text-anchor="middle">keys in the store (dashed: the target)</text>'
    yield "</svg>"


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("measures")
    arguments.add_argument("ifmatch")
    arguments.add_argument("command")
    arguments.add_argument("--write", metavar="FOLDER")
    given = arguments.parse_args()
    measures = Measures(given.measures)
    figures = {
        "DATE": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "MACHINE": machine(Path(given.measures).parent),
        "VERSIONS": versions(given.ifmatch),
        "COMMAND": given.command,
        "RATIOS": "\n".join(ratios(measures)),
        "SIDE_BY_SIDE": "\n".join(side_by_side(measures)),
        "GROWTH": "\n".join(growth(measures)),
    }
    print(f"{figures['DATE']}: {figures['MACHINE']}\n{figures['VERSIONS']}\n{figures['COMMAND']}")
    for name in ("RATIOS", "SIDE_BY_SIDE", "GROWTH"):
        print(f"\n{figures[name]}")
    if given.write:
        folder = Path(given.write)
        folder.mkdir(exist_ok=True)
        page = (HERE / "performance.md").read_text()
        page = re.sub(r"\{\{(\w+)\}\}", lambda place: figures[place.group(1)], page)
        (folder / "performance.md").write_text(page)
        (folder / "performance-growth.svg").write_text("\n".join(plot(measures)) + "\n")


if __name__ == "__main__":
    main()
