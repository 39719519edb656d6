"""Watches until its connection ends: prints a line at the first picture, then the state that it ends in, and when (Unix ms).

usage: ended_peer.py URL
"""

import asyncio
import sys
import time

import aiohttp
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription


async def watch(url):
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind in ("audio", "video"):
        pc.addTransceiver(kind, direction="recvonly")
    ended = asyncio.get_running_loop().create_future()
    tasks = []

    @pc.on("connectionstatechange")
    def changed():
        if pc.connectionState not in ("new", "connecting", "connected") and not ended.done():
            ended.set_result((pc.connectionState, round(time.time() * 1000)))

    async def consume(track):
        while True:
            await track.recv()
            if track.kind == "video" and not consume.seen:
                consume.seen = True
                print("picture", flush=True)

    consume.seen = False
    pc.on("track", lambda track: tasks.append(asyncio.ensure_future(consume(track))))
    await pc.setLocalDescription(await pc.createOffer())
    async with aiohttp.ClientSession() as http:
        body = {"sdp": pc.localDescription.sdp, "type": "offer"}
        async with http.post(url + "/offer", json=body) as reply:
            answer = await reply.json()
    await pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
    state, at = await asyncio.wait_for(ended, 60)
    print(f"{state}\n{at}", flush=True)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await pc.close()


asyncio.run(watch(sys.argv[1]))
