#!/usr/bin/env python3
"""Measures visavis beside aiortc and prints the table of docs/benchmarks.md.

Builds the release, renders the clip that aiortc replays, then measures both by turns with the same receiver
(`visavis bench`). Each figure carries the load of the machine while it was taken. Needs ffmpeg and scripts/python-peer.sh.

    benches/compare.py [--rounds N] [--seconds S] [--max SESSIONS] [--out DIR]
"""

import argparse
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BINARY = ROOT / "target/release/visavis"
PYTHON = ROOT / "target/python-peer/bin/python"
BITRATE = 800_000
TEXT = (
    "The harbour was quiet when the first boats came back, and nobody on the quay had expected them before noon. "
    "A warm wind had carried them home along the coast, past the lighthouse and the long white beaches. "
    "Their crews told of clear water, of whales that followed them for hours, and of a sky full of stars."
)


def run(*command, **options):
    return subprocess.run([str(word) for word in command], cwd=ROOT, check=True, **options)


def make_clip(folder):
    """What the peer replays: our own pictures and voice, raw."""
    film, clip, sound = folder / "clip.mp4", folder / "clip.i420", folder / "clip.s16"
    if not (clip.exists() and sound.exists()):
        run(BINARY, "render", "--avatar", "mira", "--text", TEXT, "-o", film)
        quiet = ("ffmpeg", "-v", "error", "-y", "-i", film)
        run(*quiet, "-an", "-pix_fmt", "yuv420p", "-f", "rawvideo", clip)
        run(*quiet, "-vn", "-ac", 1, "-ar", 16_000, "-f", "s16le", sound)
    return clip, sound


def free_port():
    """One that was free a moment ago."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


class Server:
    """One server, started for one measurement."""

    def __init__(self, name, clip, sound):
        port = free_port()
        self.name, self.url = name, f"http://127.0.0.1:{port}"
        environment = dict(os.environ)
        if name == "visavis":
            command = [BINARY, "serve", "--listen", f"127.0.0.1:{port}"]
            environment |= {
                "VISAVIS_SERVER__MAX_SESSIONS": "500",
                "VISAVIS_AVATARS__DEFAULT": "mira",
                **{f"VISAVIS_WEBRTC__BITRATE__{bound}": str(BITRATE // 1_000) + "k" for bound in ("MIN", "START", "MAX")},
            }
        else:
            peer = ROOT / "benches/peer/aiortc_server.py"
            command = [PYTHON, peer, "--port", port, "--clip", clip, "--sound", sound, "--bitrate", BITRATE]
        began = time.monotonic()
        null = subprocess.DEVNULL
        self.process = subprocess.Popen([str(word) for word in command], cwd=ROOT, env=environment, stdout=null, stderr=null)
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() - began > 60:
                raise SystemExit(f"{name} did not start")
            time.sleep(0.005)
        self.ready_ms = (time.monotonic() - began) * 1e3

    def is_ready(self):
        try:
            with urllib.request.urlopen(self.url + "/readyz", timeout=1):
                return True
        except OSError:
            return False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        # Twice: the second ends it without waiting for answers to end.
        for _ in range(2):
            self.process.send_signal(signal.SIGTERM)
            try:
                return self.process.wait(3)
            except subprocess.TimeoutExpired:
                continue
        self.process.kill()
        return self.process.wait()


class Comparison:
    def __init__(self, args, clip, sound):
        self.args, self.media = args, (clip, sound)
        self.lines = args.out / "figures.jsonl"
        self.lines.unlink(missing_ok=True)
        self.records = []

    def bench(self, name, kind, *flags):
        """Measures one fresh server. `kind` groups the records of all rounds."""
        raw = self.args.out / "last.jsonl"
        raw.unlink(missing_ok=True)
        with Server(name, *self.media) as server:
            command = [BINARY, "bench", "--url", server.url, "--pid", server.process.pid, "--json", raw, *flags]
            run(*command, stdout=subprocess.DEVNULL)
            ready_ms = server.ready_ms
        records = [json.loads(line) for line in raw.read_text().splitlines()]
        with self.lines.open("a") as lines:
            for record in records:
                record |= {"server": name, "kind": kind, "start_to_ready_ms": round(ready_ms, 1)}
                self.records.append(record)
                lines.write(json.dumps(record) + "\n")
                print(json.dumps(record), file=sys.stderr, flush=True)
        return records

    def take(self):
        args = self.args
        window = ("--seconds", args.seconds)
        for _ in range(args.rounds):
            self.bench("aiortc", "one", "--sessions", args.sessions, *window)
            self.bench("visavis", "one speaking", "--sessions", args.sessions, "--speak", *window)
            self.bench("visavis", "one idle", "--sessions", args.sessions, *window)
            self.bench("visavis", "latency", "--latency", args.times)
        for _ in range(args.capacity_rounds):
            capacity = ("--capacity", args.max, "--seconds", 8)
            self.bench("aiortc", "capacity", *capacity)
            self.bench("visavis", "capacity speaking", "--speak", *capacity)
            self.bench("visavis", "capacity idle", *capacity)
        for _ in range(args.rounds):
            for name, kind, flags in (("aiortc", "half", ()), ("visavis", "half speaking", ("--speak",))):
                whole = self.smooth(name, "capacity" + kind.removeprefix("half"))
                self.bench(name, kind, "--sessions", max(1, whole // 2), *flags, *window)

    def values(self, server, kind, key):
        found = (r.get(key) for r in self.records if r["server"] == server and r["kind"] == kind)
        return [value for value in found if value is not None]

    def median(self, server, kind, key):
        values = self.values(server, kind, key)
        return statistics.median(values) if values else float("nan")

    def smooth(self, server, kind):
        return int(self.median(server, kind, "smooth_sessions"))

    def memory_mib(self, server, kind):
        """What each further session adds, up to eight: the first one also pays for what all share."""
        steps = [r for r in self.records if r["server"] == server and r["kind"] == kind and r.get("rss_mib")]
        few, many = steps[0], max((s for s in steps if s["sessions"] <= 8), key=lambda s: s["sessions"])
        return round((many["rss_mib"] - few["rss_mib"]) / max(1, many["sessions"] - few["sessions"]), 1)

    def loads(self, *kinds):
        loads = [r["load_1m"] for r in self.records if r["kind"] in kinds and r.get("load_1m") is not None]
        return f"{min(loads):.1f}–{max(loads):.1f}" if loads else ""

    def table(self):
        """Rows of the document: figure, visavis, aiortc, ratio or value against its goal, load."""
        of = lambda kind, key: self.median("visavis", kind, key)
        peer = lambda kind, key: self.median("aiortc", kind, key)
        cpu, gap, jitter = "cpu_s_per_streamed_minute", "frame_gap_p99_ms", "audio_jitter_p99_ms"
        first = "offer_to_first_picture_p50_ms"
        rows = []

        def row(figure, ours, theirs, unit, judged, goal, met, kinds):
            theirs = "" if theirs is None else f"{round(theirs, 1):g} {unit}".strip()
            verdict = "" if met is None else "met" if met else "**missed**"
            rows.append((figure, f"{round(ours, 1):g} {unit}".strip(), theirs, judged, goal, verdict, self.loads(*kinds)))

        for state, goal in (("speaking", 0.6), ("idle", 0.05)):
            ours, theirs = of(f"one {state}", cpu), peer("one", cpu)
            kinds = ("one", f"one {state}")
            row(f"CPU per streamed minute, {state}", ours, theirs, "s", f"{ours / theirs:.2f}", f"≤ {goal:g}", ours <= goal * theirs, kinds)
        for state, goal in (("speaking", 2), ("idle", None)):
            ours, theirs = self.smooth("visavis", f"capacity {state}"), self.smooth("aiortc", "capacity")
            met = None if goal is None else ours >= goal * theirs
            goal = "" if goal is None else f"≥ {goal}"
            ratio = f"{ours / max(1, theirs):.1f}"
            row(f"smooth sessions, {state}", ours, theirs, "", ratio, goal, met, ("capacity", f"capacity {state}"))
            # Whole steps that vary from round to round: all of them, rather than a middle that was never seen.
            each = [self.values(*of, "smooth_sessions") for of in (("visavis", f"capacity {state}"), ("aiortc", "capacity"))]
            rows[-1] = (rows[-1][0], *(", ".join(map(str, rounds)) for rounds in each), *rows[-1][3:])
        half = "half of its own smooth sessions"
        for figure, key, limit in (("frame gap p99", gap, 48), ("audio jitter p99", jitter, 5)):
            ours = of("half speaking", key)
            row(f"{figure} at {half}", ours, peer("half", key), "ms", "", f"≤ {limit} ms", ours <= limit, ("half", "half speaking"))
        ours, theirs = self.memory_mib("visavis", "capacity speaking"), self.memory_mib("aiortc", "capacity")
        row("memory per further session", ours, theirs, "MiB", "", "≤ 8 MiB", ours <= 8, ("capacity", "capacity speaking"))
        for figure, key, p, limit in (
            ("text → voice", "text_to_voice", 50, None),
            ("text → voice", "text_to_voice", 95, None),
            ("text → lips", "text_to_lips", 50, 350),
            ("text → lips", "text_to_lips", 95, 400),
            ("interrupt → silence", "interrupt_to_silence", 95, 150),
        ):
            ours = of("latency", f"{key}_p{p}_ms")
            met, goal = (None, "") if limit is None else (ours <= limit, f"≤ {limit} ms")
            row(f"{figure} p{p}", ours, None, "ms", "", goal, met, ("latency",))
        starts = {"visavis": "one idle", "aiortc": "one"}
        ours, theirs = (round(self.median(name, kind, "start_to_ready_ms")) for name, kind in starts.items())
        row("process start → ready", ours, theirs, "ms", "", "≤ 1 s", ours <= 1_000, starts.values())
        ours, theirs = of("one idle", first), peer("one", first)
        row("offer → first picture p50", ours, theirs, "ms", "", "≤ 700 ms", ours <= 700, starts.values())

        head = ("figure", "visavis", "aiortc", "ratio", "goal", "", "load")
        return "\n".join("| " + " | ".join(map(str, cells)) + " |" for cells in (head, ["---"] * len(head), *rows))


def write(document, name, table):
    """Puts the table between the marks of that name in the document."""
    text = document.read_text()
    marks = rf"(<!-- {name} -->\n).*?(<!-- end of {name} -->)"
    document.write_text(re.sub(marks, lambda marked: marked[1] + table + "\n" + marked[2], text, flags=re.DOTALL))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="the table holds medians of so many")
    parser.add_argument("--capacity-rounds", type=int, default=1)
    parser.add_argument("--sessions", type=int, default=2, help="for the figures per session")
    parser.add_argument("--seconds", type=int, default=20, help="length of one measurement")
    parser.add_argument("--times", type=int, default=10, help="texts and interruptions a round")
    parser.add_argument("--max", type=int, default=64, help="sessions at which to stop looking for the limit")
    parser.add_argument("--out", type=Path, default=ROOT / "target/compare")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    run("cargo", "build", "--release", "--locked")
    run("sh", "scripts/python-peer.sh")
    comparison = Comparison(args, *make_clip(args.out))
    comparison.take()
    table = comparison.table()
    print(table)
    if args.write:
        write(ROOT / "docs/benchmarks.md", "table", table)


if __name__ == "__main__":
    main()
