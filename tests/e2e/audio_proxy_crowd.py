"""Many clients of /audio_proxy: all at once, or one after another.

    python audio_proxy_crowd.py crowd URL COUNT      prints for each what it heard, as base64
    python audio_proxy_crowd.py cycles URL COUNT     comes, speaks and goes; each tenth hears a part of the answer
"""

import asyncio
import base64
import sys

import numpy as np
import websockets

TONE = np.round(8_000 * np.sin(2 * np.pi * 300 * np.arange(19_200) / 16_000)).astype("<i2").tobytes()


async def answer(socket, least):
    """So many bytes of sound."""
    heard = b""
    while len(heard) < least:
        message = await asyncio.wait_for(socket.recv(), 20)
        if isinstance(message, bytes):
            heard += message
    return heard


async def one(url):
    async with websockets.connect(url, proxy=None) as socket:
        await socket.send(TONE)
        await socket.send(bytes(32_000))
        return await answer(socket, 30_000)


async def crowd(url, count):
    for heard in await asyncio.gather(*(one(url) for _ in range(count))):
        print(base64.b64encode(heard).decode())


async def cycles(url, count):
    done = 0
    while done < count:
        try:
            async with websockets.connect(url, proxy=None, close_timeout=1) as socket:
                await socket.send(TONE)
                await socket.send(bytes(32_000))
                # Whoever comes before the last one has left is refused, and comes again.
                if done % 10 == 0:
                    await answer(socket, 10_000)
                else:
                    await asyncio.wait_for(socket.recv(), 0.02)
        except TimeoutError:
            pass
        except websockets.ConnectionClosed:
            await asyncio.sleep(0.02)
            continue
        done += 1


asyncio.run({"crowd": crowd, "cycles": cycles}[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
