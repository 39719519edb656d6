"""Somebody who uses /audio_proxy, with the library that the seed's own test client uses.

Does what it is told, a JSON object a line on its standard input, and tells what happens, a JSON object a line:

    python audio_proxy_client.py URL [HEADER=VALUE ...]
"""

import asyncio
import base64
import json
import sys
import time

import numpy as np
import websockets

RATE = 16_000


def tell(**what):
    print(json.dumps({"t": time.time(), **what}), flush=True)


def sound_of(order):
    """16-bit PCM as bytes."""
    if "pcm" in order:
        return base64.b64decode(order["pcm"])
    count = round(order["s"] * RATE)
    tone = order.get("amp", 8_000) * np.sin(2 * np.pi * order.get("hz", 300) * np.arange(count) / RATE)
    return np.round(tone).astype("<i2").tobytes()


async def send(socket, order):
    """Sends sound in chunks of so many bytes, one every so many seconds, against the clock."""
    sound, chunk, every = sound_of(order), order.get("chunk", 3_200), order.get("every", 0.1)
    began = time.monotonic()
    for n, at in enumerate(range(0, len(sound), chunk)):
        wait = began + n * every - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        await socket.send(sound[at : at + chunk])


async def hear(socket, reading):
    try:
        while True:
            await reading.wait()
            message = await socket.recv()
            if isinstance(message, bytes):
                tell(pcm=base64.b64encode(message).decode())
            else:
                tell(said=json.loads(message))
    except websockets.ConnectionClosed:
        tell(closed=socket.close_code)


async def main():
    url, headers = sys.argv[1], dict(pair.split("=", 1) for pair in sys.argv[2:])
    try:
        socket = await websockets.connect(url, additional_headers=headers, max_size=None, proxy=None)
    except websockets.InvalidStatus as error:
        tell(refused=error.response.status_code, body=error.response.body.decode(errors="replace"))
        return
    tell(opened=True)
    reading = asyncio.Event()
    reading.set()
    hearing = asyncio.create_task(hear(socket, reading))
    lines = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    background = []
    while line := await lines.readline():
        order = json.loads(line)
        try:
            match order["do"]:
                case "send":
                    sending = send(socket, order)
                    if order.get("meanwhile"):
                        background.append(asyncio.create_task(sending))
                    else:
                        await sending
                case "text":
                    await socket.send(order["text"])
                case "hush":
                    [task.cancel() for task in background]
                case "read":
                    reading.set() if order["on"] else reading.clear()
                case "close":
                    await socket.close()
                case "abort":
                    socket.transport.abort()
        except websockets.ConnectionClosed:
            pass
        tell(done=order["id"])
    hearing.cancel()
    await socket.close()


asyncio.run(main())
