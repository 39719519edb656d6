"""Seed 001's client on aiortc: says one text, then stays and listens to the silence. Prints one JSON line.

usage: peer.py URL TEXT SECONDS
"""

import asyncio
import json
import re
import sys
import time

import aiohttp
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription


async def main(url, text, seconds):
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.addTransceiver("audio", direction="recvonly")
    channel = pc.createDataChannel("chat")
    messages, frames, packets = [], [], []
    opened = asyncio.Event()
    channel.on("open", lambda: opened.set())
    channel.on("message", lambda message: messages.append(json.loads(message)))

    async def consume(track):
        while True:
            frames.append((await track.recv()).to_ndarray().reshape(-1, 2)[:, 0])

    tasks = []
    pc.on("track", lambda track: tasks.append(asyncio.ensure_future(consume(track))))
    (receiver,) = pc.getReceivers()
    take = receiver._handle_rtp_packet

    async def note(packet, arrival_time_ms):
        packets.append((time.monotonic(), packet.timestamp))
        await take(packet, arrival_time_ms)

    receiver._handle_rtp_packet = note
    await pc.setLocalDescription(await pc.createOffer())
    # aiortc waits for its candidates, seed 001's page does not.
    sdp = re.sub(r"a=(candidate:.*|end-of-candidates)\r\n", "", pc.localDescription.sdp)
    async with aiohttp.ClientSession() as http:
        async with http.post(url + "/offer", json={"sdp": sdp, "type": "offer"}) as reply:
            answer = await reply.json()
    await pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], answer["type"]))
    await asyncio.wait_for(opened.wait(), 15)
    channel.send(text)
    while not any(message["type"] == "tts_complete" for message in messages):
        await asyncio.sleep(0.02)
    sound = np.concatenate(frames[-200:]).astype(float)
    pitch = np.argmax(np.abs(np.fft.rfft(sound))) * 48000 / len(sound)
    idle = len(packets)
    await asyncio.sleep(seconds)
    packets = packets[idle:]
    # How late each packet was, in ms: the least of a while is the clock's, the rest is the machine's.
    late = [(at - packets[0][0]) * 1e3 - (stamp - packets[0][1]) / 48 for at, stamp in packets]
    part = len(late) // 4
    result = {
        "answer": answer["sdp"],
        "messages": messages,
        "pitch": pitch,
        "stamps": packets[-1][1] - packets[0][1],
        "uneven": sum((stamp - packets[0][1]) % 960 != 0 for _, stamp in packets),
        "drift_ms": min(late[-part:]) - min(late[:part]),
        "state": pc.connectionState,
    }
    for task in tasks:
        task.cancel()
    await pc.close()
    print(json.dumps(result))


asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
