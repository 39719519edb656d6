"""LiveTalking's stream as aiortc sees it: stamps, codecs, keyframes on request, and pictures over a lossy line. Prints one JSON line.

usage: livetalking_peer.py URL vp8|h264 SECONDS
"""

import asyncio
import json
import random
import sys
import time

import aiohttp
from aiortc import RTCConfiguration, RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.rtp import RtcpSrPacket

LOSS = 0.05
ASK_S, LOSS_S = 2, 8


def begins_keyframe(codec, payload):
    """Of a packet's payload: a VP8 descriptor (RFC 7741 section 4.2), or an H.264 parameter set (RFC 6184 section 5)."""
    if codec == "h264":
        kind = payload[0] & 0x1F
        return kind == 7 or (kind == 24 and payload[3] & 0x1F == 7)
    at = 1
    if payload[0] & 0x80:
        extension = payload[1]
        at = 2
        if extension & 0x80:
            at += 2 if payload[at] & 0x80 else 1
        at += bool(extension & 0x40) + bool(extension & 0x30)
    return bool(payload[0] & 0x10) and payload[0] & 0x07 == 0 and payload[at] & 1 == 0


async def watch(url, codec, seconds):
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    pc.addTransceiver("audio", direction="recvonly")
    video = pc.addTransceiver("video", direction="recvonly")
    known = RTCRtpReceiver.getCapabilities("video").codecs
    wanted = [c for c in known if c.mimeType.lower() in (f"video/{codec}", "video/rtx")]
    video.setCodecPreferences(wanted)
    packets = {"audio": [], "video": []}
    keyframes, pictures, lossy = [], [], [False]
    ages, reports = {"audio": [], "video": []}, {}

    def spy(receiver):
        handle = receiver._handle_rtp_packet
        main = []

        async def handled(packet, arrival_time_ms):
            main.append(packet.ssrc)
            if packet.ssrc == main[0] and packet.payload:
                kind = receiver._track.kind
                packets[kind].append((packet.sequence_number, packet.timestamp))
                if kind in reports:
                    # How old it is by the sender's clock, which is this machine's.
                    at, stamp = reports[kind]
                    rate = 48_000 if kind == "audio" else 90_000
                    ahead = (packet.timestamp - stamp + (1 << 31)) % (1 << 32) - (1 << 31)
                    ages[kind].append(time.time() - at - ahead / rate)
                if receiver._track.kind == "video" and begins_keyframe(codec, packet.payload):
                    keyframes.append(time.monotonic())
            if lossy[0] and random.random() < LOSS:
                return
            await handle(packet, arrival_time_ms=arrival_time_ms)

        receiver._handle_rtp_packet = handled
        handle_report = receiver._handle_rtcp_packet

        async def handled_report(packet):
            if isinstance(packet, RtcpSrPacket) and main and packet.ssrc == main[0]:
                info = packet.sender_info
                reports[receiver._track.kind] = (info.ntp_timestamp / 2**32 - 2_208_988_800, info.rtp_timestamp)
            await handle_report(packet)

        receiver._handle_rtcp_packet = handled_report

    async def consume(track):
        while True:
            await track.recv()
            if track.kind == "video":
                pictures.append(time.monotonic())

    tasks = []
    pc.on("track", lambda track: tasks.append(asyncio.ensure_future(consume(track))))
    for transceiver in pc.getTransceivers():
        spy(transceiver.receiver)
    await pc.setLocalDescription(await pc.createOffer())
    async with aiohttp.ClientSession() as http:
        body = {"sdp": pc.localDescription.sdp, "type": "offer"}
        async with http.post(url + "/offer", json=body) as reply:
            answer = await reply.json()
    await pc.setRemoteDescription(RTCSessionDescription(answer["sdp"], "answer"))
    await asyncio.sleep(2 + seconds)
    ssrc = next(iter(video.receiver._RTCRtpReceiver__remote_streams))
    delays = []
    for _ in range(3):
        asked = time.monotonic()
        await video.receiver._send_rtcp_pli(ssrc)
        await asyncio.sleep(ASK_S)
        delays.append(next((at - asked for at in keyframes if at > asked), None))
    quiet = len(pictures)
    lossy[0] = True
    await asyncio.sleep(LOSS_S)
    seen = pictures[quiet:]
    result = {
        "codec": [line for line in answer["sdp"].splitlines() if line.startswith("a=rtpmap") and codec in line.lower()],
        "steps": {kind: steps(list_of) for kind, list_of in packets.items()},
        "frames": {kind: len(set(stamp for _, stamp in list_of)) for kind, list_of in packets.items()},
        "age_ms": {kind: [1000 * sorted(part)[len(part) // 2] for part in thirds(list_of)] for kind, list_of in ages.items()},
        "keyframe_ms": [delay and round(delay * 1000) for delay in delays],
        "lossy_fps": len(seen) / LOSS_S,
        "longest_gap_s": max(later - earlier for earlier, later in zip(seen, seen[1:])),
    }
    for task in tasks:
        task.cancel()
    await pc.close()
    print(json.dumps(result))


def steps(packets):
    """How far stamps go from frame to frame, where no packet between them is missing."""
    found = []
    for (number, stamp), (next_number, next_stamp) in zip(packets, packets[1:]):
        if next_number == (number + 1) & 0xFFFF and next_stamp != stamp:
            found.append((next_stamp - stamp) & 0xFFFFFFFF)
    return {step: found.count(step) for step in sorted(set(found))}


def thirds(values):
    third = len(values) // 3
    return [values[:third], values[third:-third], values[-third:]]


asyncio.run(watch(sys.argv[1], sys.argv[2], int(sys.argv[3])))
