"""An independent client: aiortc watches, decodes, and tells what it saw and heard. Prints one JSON line.

usage: aiortc_peer.py URL SECONDS [TEXT]
"""

import asyncio
import json
import sys
import time

import aiohttp
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription


async def watch(url, seconds, text):
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.addTransceiver("audio", direction="recvonly")
    pc.addTransceiver("video", direction="recvonly")
    channel = pc.createDataChannel("visavis")
    messages, frames, loudness = [], [], []
    channel.on("message", lambda message: messages.append(json.loads(message)))

    async def consume(track):
        while True:
            frame = await track.recv()
            if track.kind == "video":
                frames.append((time.monotonic(), frame.pts, frame.width, float(frame.to_ndarray(format="gray").std())))
            else:
                samples = frame.to_ndarray().astype(np.float32) / 32768
                loudness.append(float(np.sqrt((samples**2).mean())))

    tasks = []
    pc.on("track", lambda track: tasks.append(asyncio.ensure_future(consume(track))))
    await pc.setLocalDescription(await pc.createOffer())
    async with aiohttp.ClientSession() as http:
        body = {"sdp": pc.localDescription.sdp, "type": "offer"}
        async with http.post(url + "/offer", json=body) as reply:
            answer = await reply.json()
        await pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        await asyncio.sleep(2)
        if text:
            body = {"sessionid": answer["sessionid"], "type": "echo", "text": text}
            async with http.post(url + "/human", json=body) as reply:
                assert (await reply.json())["code"] == 0
        await asyncio.sleep(seconds)
    span = frames[-1][0] - frames[0][0]
    steps = {later[1] - earlier[1] for earlier, later in zip(frames, frames[1:])}
    result = {
        "state": pc.connectionState,
        "fps": (len(frames) - 1) / span,
        "width": frames[-1][2],
        "contrast": frames[-1][3],
        "video_steps": sorted(steps),
        "audio_frames": len(loudness),
        "loudest": max(loudness),
        "quietest": min(loudness),
        "types": sorted({message["type"] for message in messages}),
        "caption": "".join(message["text"] for message in messages if message["type"] == "caption"),
    }
    for task in tasks:
        task.cancel()
    await pc.close()
    print(json.dumps(result))


asyncio.run(watch(sys.argv[1], float(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else ""))
