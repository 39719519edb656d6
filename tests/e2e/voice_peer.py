"""Offers sound, and pictures in a codec that nobody has: prints one JSON line with what comes of it.

usage: voice_peer.py URL
"""

import asyncio
import json
import re
import sys

import aiohttp
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription


def as_aiortc_reads_it(sdp):
    """aiortc knows no refused line: it wants a transport, a place in the bundle and a codec of its own on each."""
    head, audio, video = re.split("^(?=m=)", sdp, flags=re.M)
    transport = re.findall("^a=(?:ice-ufrag|ice-pwd|fingerprint|setup|rtcp-mux).*$", audio, re.M)
    video = re.sub("^(m=video 0 \\S+) .*$", "\\1 97", video, flags=re.M)
    more = ["a=inactive", "a=rtpmap:97 VP8/90000", *(line.strip() for line in transport)]
    head = head.replace("a=group:BUNDLE 0", "a=group:BUNDLE 0 1")
    return head + audio + video + "".join(line + "\r\n" for line in more)


async def listen(url):
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    for kind in ("audio", "video"):
        pc.addTransceiver(kind, direction="recvonly")
    loudness, pictures, tasks = [], [], []

    async def consume(track):
        while True:
            frame = await track.recv()
            if track.kind == "video":
                pictures.append(frame.pts)
            else:
                samples = frame.to_ndarray().astype(np.float32) / 32768
                loudness.append(float(np.sqrt((samples**2).mean())))

    pc.on("track", lambda track: tasks.append(asyncio.ensure_future(consume(track))))
    await pc.setLocalDescription(await pc.createOffer())
    sdp = re.sub("(VP8|H264)/90000", "NONE/90000", pc.localDescription.sdp)
    async with aiohttp.ClientSession() as http:
        async with http.post(url + "/offer", json={"sdp": sdp, "type": "offer"}) as reply:
            answer = await reply.json()
        assert answer.get("type") == "answer", answer
        video_port = int(re.search(r"m=video (\d+)", answer["sdp"])[1])
        answer["sdp"] = as_aiortc_reads_it(answer["sdp"])
        await pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
        await asyncio.sleep(1)
        body = {"sessionid": answer["sessionid"], "type": "echo", "text": "Nine merry butterflies."}
        async with http.post(url + "/human", json=body) as reply:
            assert (await reply.json())["code"] == 0
        await asyncio.sleep(3)
    result = {
        "state": pc.connectionState,
        "video_port": video_port,
        "pictures": len(pictures),
        "loudest": max(loudness, default=0),
    }
    for task in tasks:
        task.cancel()
    await pc.close()
    print(json.dumps(result))


asyncio.run(listen(sys.argv[1]))
