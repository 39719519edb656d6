#!/usr/bin/env python3
"""Measures spoken conversations and prints the second table of docs/benchmarks.md.

Embedded ears, embedded English voice, and a stand-in for the language model with 200 ms to its first token. Builds the
release; needs scripts/python-peer.sh.

    benches/conversation.py [--times K] [--crowd N] [--crowd-times K] [--out DIR] [--write]
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from compare import BINARY, PYTHON, ROOT, free_port, run, write

QUESTION = "Could you tell me what the weather is like today?"


class Server:
    """Visavis and the model that it asks."""

    def __init__(self):
        port, model = free_port(), free_port()
        self.url = f"http://127.0.0.1:{port}"
        null = subprocess.DEVNULL
        self.model = subprocess.Popen([PYTHON, ROOT / "benches/peer/llm.py", "--port", str(model)], stdout=null, stderr=null)
        environment = os.environ | {
            "VISAVIS_SERVER__MAX_SESSIONS": "100",
            "VISAVIS_LLM__PROVIDER": "openai",
            "VISAVIS_LLM__OPENAI__BASE_URL": f"http://127.0.0.1:{model}/v1",
        }
        command = [BINARY, "serve", "--listen", f"127.0.0.1:{port}"]
        self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=null, stderr=null)
        # The ears load after the server is ready.
        time.sleep(5)
        urllib.request.urlopen(self.url + "/readyz", timeout=5).close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in (self.process, self.model):
            process.send_signal(signal.SIGTERM)
        for process in (self.process, self.model):
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()


def talk(out, *flags):
    """One measurement of a fresh server."""
    raw = out / "talk.jsonl"
    raw.unlink(missing_ok=True)
    with Server() as server:
        command = [BINARY, "bench", "--url", server.url, "--pid", str(server.process.pid), "--json", raw]
        run(*command, *flags, stdout=subprocess.DEVNULL)
    record = json.loads(raw.read_text().splitlines()[-1])
    print(json.dumps(record), file=sys.stderr, flush=True)
    return record


def rows(one, crowd, people):
    """Rows of the document: figure, measured, goal, verdict, load."""

    def row(figure, record, key, unit, limit):
        value = record[key]
        verdict = "" if limit is None else "met" if value <= limit else "**missed**"
        goal = "" if limit is None else f"≤ {limit:g} {unit}"
        return figure, f"{value:g} {unit}", goal, verdict, f"{record['load_1m']:.1f}"

    for figure, key, limits in (
        ("end of speech → voice", "speech_end_to_voice", (1_000, 1_500)),
        ("end of speech → lips", "speech_end_to_lips", (1_000, 1_500)),
        ("typed question → lips", "typed_to_lips", (550, None)),
        ("talked into → silence", "talked_into_to_silence", (None, 700)),
        ("caption against its first word", "caption_off", (None, 50)),
    ):
        for p, limit in zip((50, 95), limits, strict=True):
            yield row(f"{figure} p{p}", one, f"{key}_p{p}_ms", "ms", limit)
    if crowd:
        bad = 100 * (crowd["sound_packets_lost"] + crowd["sound_packets_late"]) / max(1, crowd["sound_packets"])
        crowd |= {"bad": round(bad, 2), "grown": crowd["rss_mib_after"] - crowd["rss_mib_before"]}
        name = f"{people} typed conversations for {crowd['seconds'] / 60:.0f} min, sound only"
        yield row(f"{name}: packets lost or 200 ms late", crowd, "bad", "%", 1)
        yield row(f"{name}: memory at the end, more than at the start", crowd, "grown", "MiB", None)
        yield row(f"{name}: CPU per minute of one", crowd, "cpu_s_per_minute_of_a_session", "s", None)
        yield row(f"{name}: typed question → voice p95", crowd, "typed_to_voice_p95_ms", "ms", None)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=15, help="turns of the one conversation")
    parser.add_argument("--crowd", type=int, default=20, help="conversations at once; 0: none")
    parser.add_argument("--crowd-times", type=int, default=36, help="questions of each, one every 8 s")
    parser.add_argument("--out", type=Path, default=ROOT / "target/compare")
    parser.add_argument("--write", action="store_true", help="put the table into docs/benchmarks.md")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    run("cargo", "build", "--release", "--locked")
    run("sh", "scripts/python-peer.sh")
    question = args.out / "question.wav"
    run(BINARY, "say", QUESTION, "-o", question)

    one = talk(args.out, "--talk", args.times, "--question", question)
    crowd = None
    if args.crowd:
        crowd = talk(args.out, "--talk", args.crowd_times, "--sessions", args.crowd, "--codec", "none")
    head = ("figure", "visavis", "goal", "", "load")
    cells = (head, ["---"] * len(head), *rows(one, crowd, args.crowd))
    table = "\n".join("| " + " | ".join(row) + " |" for row in cells)
    print(table)
    if args.write:
        write(ROOT / "docs/benchmarks.md", "conversation", table)


if __name__ == "__main__":
    main()
