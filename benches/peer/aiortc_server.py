"""The peer of docs/benchmarks.md: aiortc streams a clip that visavis rendered, over and over.

In: a raw I420 clip (512 x 512, 25 fps) and raw s16le sound (mono, 16 kHz). Out: VP8 at a fixed bit rate and Opus to
whoever posts an offer to /offer. It never renders: it is what a Python server costs before it has drawn anything.
"""

import argparse
import asyncio
import fractions

import aioice.ice
import aiortc.codecs.vpx
import numpy as np
from aiohttp import web
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from av import AudioFrame, VideoFrame

SIDE = 512
PICTURE_BYTES = SIDE * SIDE * 3 // 2
AUDIO_RATE_HZ = 16_000
SAMPLES = AUDIO_RATE_HZ // 50  # 20 ms, one Opus packet


class Paced(MediaStreamTrack):
    """Frame n leaves at the first frame's time + n periods: neither drifts nor bursts on its own account."""

    def __init__(self, period_s):
        super().__init__()
        self.period_s, self.count, self.anchor = period_s, 0, None

    async def tick(self):
        now = asyncio.get_running_loop().time()
        self.anchor = self.anchor or now
        await asyncio.sleep(max(0.0, self.anchor + self.count * self.period_s - now))
        self.count += 1
        return self.count - 1


class Pictures(Paced):
    kind = "video"

    def __init__(self, clip):
        super().__init__(1 / 25)
        self.clip = clip

    async def recv(self):
        n = await self.tick()
        frame = VideoFrame.from_ndarray(self.clip[n % len(self.clip)], format="yuv420p")
        frame.pts, frame.time_base = n * 3_600, fractions.Fraction(1, 90_000)
        return frame


class Sound(Paced):
    kind = "audio"

    def __init__(self, pcm):
        super().__init__(1 / 50)
        self.pcm = pcm

    async def recv(self):
        n = await self.tick()
        frame = AudioFrame(format="s16", layout="mono", samples=SAMPLES)
        frame.planes[0].update(self.pcm[n % len(self.pcm)].tobytes())
        frame.sample_rate = AUDIO_RATE_HZ
        frame.pts, frame.time_base = n * SAMPLES, fractions.Fraction(1, AUDIO_RATE_HZ)
        return frame


def application(clip, pcm):
    connections = set()

    async def offer(request):
        body = await request.json()
        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        connections.add(connection)

        @connection.on("connectionstatechange")
        async def changed():
            if connection.connectionState in ("failed", "closed"):
                connections.discard(connection)
                await connection.close()

        connection.addTrack(Sound(pcm))
        connection.addTrack(Pictures(clip))
        await connection.setRemoteDescription(RTCSessionDescription(body["sdp"], body["type"]))
        await connection.setLocalDescription(await connection.createAnswer())
        return web.json_response({"sdp": connection.localDescription.sdp, "type": "answer"})

    async def ready(_):
        return web.json_response({"ready": True})

    async def close(_):
        await asyncio.gather(*(connection.close() for connection in list(connections)))

    app = web.Application()
    app.router.add_post("/offer", offer)
    app.router.add_get("/readyz", ready)
    app.on_shutdown.append(close)
    return app


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--clip", required=True, help="raw I420, 512 x 512")
    parser.add_argument("--sound", required=True, help="raw s16le, mono, 16 kHz")
    parser.add_argument("--bitrate", type=int, default=800_000)
    args = parser.parse_args()
    for name in ("DEFAULT_BITRATE", "MIN_BITRATE", "MAX_BITRATE"):
        setattr(aiortc.codecs.vpx, name, args.bitrate)
    # aiortc would gather candidates on every interface: the comparison stays on loopback.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: ["127.0.0.1"]
    clip = np.fromfile(args.clip, np.uint8)
    clip = clip[: len(clip) // PICTURE_BYTES * PICTURE_BYTES].reshape(-1, SIDE * 3 // 2, SIDE)
    pcm = np.fromfile(args.sound, np.int16)
    pcm = pcm[: len(pcm) // SAMPLES * SAMPLES].reshape(-1, SAMPLES)
    web.run_app(application(clip, pcm), host="127.0.0.1", port=args.port, print=None)


if __name__ == "__main__":
    main()
