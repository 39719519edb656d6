"""An independent client of seed 002's signalling: aiortc offers sound alone, says what a file holds, and listens. Prints one
JSON line.

usage: peer.py WS_URL WAV
"""

import asyncio
import json
import sys
import time

import aiohttp
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.contrib.media import MediaPlayer


async def talk(url, wav):
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.addTrack(MediaPlayer(wav).audio)
    loudness, times = [], []

    async def consume(track):
        while True:
            frame = await track.recv()
            times.append(time.monotonic())
            samples = frame.to_ndarray().astype(np.float32) / 32768
            loudness.append(float(np.sqrt((samples**2).mean())))

    tasks = []
    pc.on("track", lambda track: tasks.append(asyncio.ensure_future(consume(track))))
    messages = []
    async with aiohttp.ClientSession() as http, http.ws_connect(url, headers={"Client-ID": "aiortc-1"}) as socket:

        async def until(fits, patience=10):
            async with asyncio.timeout(patience):
                while True:
                    message = await socket.receive_json()
                    messages.append(message)
                    if fits(message):
                        return message

        first = await until(lambda m: True)
        await pc.setLocalDescription(await pc.createOffer())
        await socket.send_json({"type": "offer", "sdp": pc.localDescription.sdp})
        answer = await until(lambda m: m["type"] in ("answer", "error"))
        await pc.setRemoteDescription(RTCSessionDescription(answer["payload"]["sdp"], answer["payload"]["type"]))
        await until(lambda m: m["type"] == "tts" and m["state"] == "stop", 40)
        state = pc.connectionState
        span, count = times[-1] - times[0], len(times) - 1
        await socket.send_json({"type": "close"})
        await until(lambda m: m["type"] == "closed")
    result = {
        "first": first,
        "state": state,
        "types": [message["type"] for message in messages],
        "packets_per_second": count / span,
        "loudest": max(loudness),
        "quietest": min(loudness),
    }
    for task in tasks:
        task.cancel()
    await pc.close()
    print(json.dumps(result))


asyncio.run(talk(sys.argv[1], sys.argv[2]))
