#!/bin/sh
# The independent WebRTC client that the tests and the benchmark use: aiortc, in a virtual environment of its own.
set -eu
venv=target/python-peer
[ -x "$venv/bin/python" ] && "$venv/bin/python" -c 'import aiortc, aiohttp, numpy, websockets' 2>/dev/null && exit 0
python3 -m venv "$venv"
"$venv/bin/pip" install --quiet aiortc==1.16.0 aiohttp numpy websockets
