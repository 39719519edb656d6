#!/usr/bin/env python3
"""Measures avatars that were filmed and prints the table "Filmed avatars" of docs/benchmarks.md.

Networks of true size with random weights: what they say is noise, how long they take is not. Each is timed as it is, by
onnxruntime in Python on one thread, and in the server, whose sessions speak all the time. Needs a release build, and
onnx 1.23.2, onnxruntime 1.31.1 and numpy in the Python that runs this.

    benches/film.py [--seconds S] [--out DIR] [--write]
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import numpy as np
import onnxruntime

from compare import BINARY, ROOT, free_port, write


def networks(out):
    """Their ONNX files, by the size of their faces, as `visavis models convert` makes them."""
    made = {}
    for side in (96, 256):
        checkpoint, network = out / f"{side}.pth", out / f"{side}.onnx"
        if not network.exists():
            script = ROOT / "scripts/wav2lip/checkpoint.py"
            subprocess.run([sys.executable, script, "--plan", str(side), checkpoint], check=True)
            subprocess.run([BINARY, "models", "convert", checkpoint, "-o", network], check=True, stdout=subprocess.DEVNULL)
            checkpoint.unlink()
        made[side] = network
    return made


def raw(network, side, together, seconds):
    """CPU milliseconds a face, of one thread that runs `together` at once."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(network, options, providers=["CPUExecutionProvider"])
    inputs = {"mel": np.zeros((together, 1, 80, 16), np.float32), "image": np.ones((together, 6, side, side), np.float32) / 2}
    session.run(None, inputs)
    began, used, runs = time.monotonic(), time.process_time(), 0
    while time.monotonic() - began < seconds:
        session.run(None, inputs)
        runs += 1
    return (time.process_time() - used) / runs / together * 1_000


def serve(network, out, measure):
    """What `measure` finds of a server that uses `network`, given its address."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    environment = os.environ | {
        "VISAVIS_AVATARS__FILMS": str(out / "films"),
        "VISAVIS_AVATARS__DEFAULT": "bench",
        "VISAVIS_AVATARS__NETWORK": str(network),
        "VISAVIS_AVATARS__THREADS": "1",
        "VISAVIS_AVATARS__SPOOL": str(out / "spool"),
        "VISAVIS_ASR__PROVIDER": "off",
    }
    null = subprocess.DEVNULL
    server = subprocess.Popen([BINARY, "serve", "--listen", f"127.0.0.1:{port}"], cwd=ROOT, env=environment, stdout=null, stderr=null)
    try:
        for _ in range(300):
            try:
                urllib.request.urlopen(url + "/readyz", timeout=1).close()
                break
            except OSError:
                time.sleep(0.1)
        return measure(url)
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)


def bench(url, *arguments):
    """The figures that `visavis bench` prints, by their names."""
    lines = subprocess.run([BINARY, "bench", "--url", url, *map(str, arguments)], check=True, capture_output=True, text=True).stdout
    return {name: float(figure) for name, figure in re.findall(r"(\w+) +([\d.]+)$", lines, re.M)}


def speaking(url, sessions, seconds):
    """What the network did while all sessions spoke, and how smooth they were."""
    smooth = bench(url, "--sessions", sessions, "--seconds", seconds, "--speak")
    text = urllib.request.urlopen(url + "/metrics").read().decode()

    def metric(name):
        found = re.search(rf"^visavis_network_{name}(?:{{[^}}]*}})? (\S+)$", text, re.M)
        return float(found[1]) if found else 0.0

    runs, pictures = metric("run_seconds_count"), metric("pictures_total")
    return {"took": metric("run_seconds_sum"), "runs": runs, "pictures": pictures, "late": metric("late_total"),
            "fps": smooth["fps_mean"], "gap": smooth["frame_gap_p99_ms"]}


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--seconds", type=int, default=20)
    options.add_argument("--out", type=Path, default=Path(tempfile.gettempdir()) / "visavis-film")
    options.add_argument("--write", action="store_true")
    options = options.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    film = options.out / "films/bench"
    if not film.exists():
        script = ROOT / "tests/e2e/livetalking_avatar.py"
        subprocess.run([sys.executable, script, film, "--size", "512x640", "--side", "256", "--frames", "25"], check=True)
    rows = ["| network | CPU of one face, raw, 1 at once | 4 at once | in the server: sessions | wall time of one face | faces of a run | "
            "mouths a second and session | pictures a second | frame gap p99 | text → lips p50 | interrupt → silence p95 | load |",
            "| --- " * 12 + "|"]
    plan = [(f"{side}", network, side) for side, network in networks(options.out).items()]
    plan.append(("talker, 96 (tests)", ROOT / "tests/corpus/wav2lip/talker.onnx", 96))
    for name, network, side in plan:
        one, four = (raw(str(network), side, together, 5) for together in (1, 4))
        answers = serve(network, options.out, lambda url: bench(url, "--latency", 8))
        lips, silence = answers["text_to_lips_p50_ms"], answers["interrupt_to_silence_p95_ms"]
        for sessions in (1, 4):
            seen = serve(network, options.out, lambda url: speaking(url, sessions, options.seconds))
            load = f"{os.getloadavg()[0]:.1f}"
            each = seen["took"] / seen["pictures"] * 1_000 if seen["pictures"] else float("nan")
            batch = seen["pictures"] / seen["runs"] if seen["runs"] else 0
            late = seen["late"] / max(seen["late"] + seen["pictures"], 1) * 100
            rate = 25 * (1 - late / 100)
            rows.append(f"| {name} | {one:.1f} ms | {four:.1f} ms | {sessions} | {each:.1f} ms | {batch:.1f} | {rate:.1f} | {seen['fps']:.1f} | {seen['gap']:.0f} ms | {lips:.0f} ms | {silence:.0f} ms | {load} |")
            print(rows[-1], file=sys.stderr)
    table = "\n".join(rows)
    print(table)
    if options.write:
        write(ROOT / "docs/benchmarks.md", "film", table)


if __name__ == "__main__":
    main()
