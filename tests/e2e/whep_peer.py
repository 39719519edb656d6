"""A WHEP player that shares no code with us: aiortc watches and leaves as the draft says. Prints one JSON line.

usage: whep_peer.py URL SESSION SECONDS; SESSION may be "" for a new one
"""

import asyncio
import json
import sys
import time

import aiohttp
import numpy as np
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription


async def watch(url, session, seconds):
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.addTransceiver("video", direction="recvonly")
    pc.addTransceiver("audio", direction="recvonly")
    frames, packets = [], []

    async def consume(track):
        while True:
            frame = await track.recv()
            if track.kind == "video":
                frames.append((time.monotonic(), float(frame.to_ndarray(format="gray").std())))
            else:
                packets.append(float(np.sqrt(((frame.to_ndarray() / 32768.0) ** 2).mean())))

    tasks = []
    pc.on("track", lambda track: tasks.append(asyncio.ensure_future(consume(track))))
    await pc.setLocalDescription(await pc.createOffer())
    sdp = {"Content-Type": "application/sdp"}
    where = url + "/whep" + (f"?session={session}" if session else "")
    async with aiohttp.ClientSession() as http:
        async with http.post(where, data=pc.localDescription.sdp, headers=sdp) as reply:
            assert reply.status == 201, (reply.status, await reply.text())
            assert reply.headers["Content-Type"].startswith("application/sdp")
            location, links = reply.headers["Location"], reply.headers.getall("Link", [])
            answer = await reply.text()
        await pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        fragment = "a=ice-ufrag:x\r\na=mid:0\r\na=candidate:1 1 udp 2113937151 127.0.0.1 9 typ host\r\n"
        trickle = {"Content-Type": "application/trickle-ice-sdpfrag"}
        async with http.patch(url + location, data=fragment, headers=trickle) as reply:
            trickled = reply.status
        async with http.patch(url + location, data="a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n", headers=trickle) as reply:
            restarted = reply.status
        await asyncio.sleep(seconds)
        fps = (len(frames) - 1) / (frames[-1][0] - frames[0][0])
        async with http.delete(url + location) as reply:
            left = reply.status
        async with http.delete(url + location) as reply:
            twice = reply.status
    for task in tasks:
        task.cancel()
    await pc.close()
    print(json.dumps({"location": location, "links": links, "fps": fps, "contrast": frames[-1][1], "packets": len(packets),
                      "loudest": max(packets), "trickled": trickled, "restarted": restarted, "left": left, "twice": twice}))


asyncio.run(watch(sys.argv[1], sys.argv[2], float(sys.argv[3])))
