"""A device in a Janus audiobridge room that shares no code with us: aiortc and aiohttp.

Takes commands on stdin, one JSON object a line, and tells what happens on stdout, one JSON object a line:

    {"play": FILE.wav}   plays the file (16-bit, mono or stereo, any rate) into the room; told {"played": seconds} at its end
    {"hush": true}       stops playing
    {"mark": NAME}       told {"mark": NAME, "at": sample of what was heard so far, 16 kHz}
    {"save": FILE.wav}   writes what was heard so far, 16 kHz mono
    {"stats": true}      told {"frames", "span", "gap"}: 20 ms frames from the room, over how long, the longest wait for one
    {"leave": true}      hangs up and goes; {"join": true} comes back
    {"bye": true}        ends

usage: janus_device.py URL SECRET ROOM [DISPLAY] [--stereo]
"""

import asyncio
import fractions
import itertools
import json
import sys
import time
import wave

import aiohttp
import av
import numpy as np
from aiortc import MediaStreamTrack, RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

RATE = 48_000
FRAME = 960


def say(**what):
    print(json.dumps(what), flush=True)


def load(path):
    """The samples of a WAV file at 48 kHz, stereo, as int16 [n, 2]."""
    with wave.open(path) as file:
        assert file.getsampwidth() == 2
        rate, channels = file.getframerate(), file.getnchannels()
        samples = np.frombuffer(file.readframes(file.getnframes()), dtype=np.int16).reshape(-1, channels)
    frame = av.AudioFrame.from_ndarray(
        np.ascontiguousarray(samples.reshape(1, -1)), format="s16", layout="stereo" if channels == 2 else "mono"
    )
    frame.sample_rate = rate
    resampler = av.AudioResampler(format="s16", layout="stereo", rate=RATE)
    parts = [f.to_ndarray().reshape(-1, 2) for f in resampler.resample(frame) + resampler.resample(None)]
    return np.concatenate(parts)


class Voice(MediaStreamTrack):
    """20 ms at a time, silence where nothing is played."""

    kind = "audio"

    def __init__(self):
        super().__init__()
        self.queue = np.zeros((0, 2), dtype=np.int16)
        self.playing = None
        self.count = 0
        self.began = None

    async def recv(self):
        if self.began is None:
            self.began = time.monotonic()
        wait = self.began + self.count * 0.02 - time.monotonic()
        if wait > 0:
            await asyncio.sleep(wait)
        part, self.queue = self.queue[:FRAME], self.queue[FRAME:]
        if self.playing is not None and len(self.queue) == 0:
            say(played=self.playing, t=time.time())
            self.playing = None
        if len(part) < FRAME:
            part = np.concatenate([part, np.zeros((FRAME - len(part), 2), dtype=np.int16)])
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part.reshape(1, -1)), format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, self.count * FRAME, fractions.Fraction(1, RATE)
        self.count += 1
        return frame


class Device:
    def __init__(self, url, secret, room, display, stereo):
        self.url, self.secret, self.room, self.display, self.stereo = url, secret, room, display, stereo
        self.numbers = itertools.count(1)
        self.waiting = {}
        self.heard = []
        self.times = []
        self.pc = self.voice = self.socket = None
        self.session = self.handle = None

    async def ask(self, kind, final=("success", "event", "error"), **rest):
        transaction = f"device-{next(self.numbers)}"
        future = asyncio.get_running_loop().create_future()
        self.waiting[transaction] = (final, future)
        message = {"janus": kind, "transaction": transaction, "apisecret": self.secret, **rest}
        if self.session:
            message["session_id"] = self.session
        if self.handle:
            message["handle_id"] = self.handle
        await self.socket.send_str(json.dumps(message))
        reply = await asyncio.wait_for(future, 10)
        data = reply.get("plugindata", {}).get("data", {})
        if reply["janus"] == "error" or "error_code" in data:
            raise SystemExit(f"{kind}: {reply}")
        return reply

    async def read(self):
        async for message in self.socket:
            if message.type != aiohttp.WSMsgType.TEXT:
                break
            reply = json.loads(message.data)
            waiting = self.waiting.get(reply.get("transaction"))
            if waiting and reply["janus"] in waiting[0]:
                del self.waiting[reply["transaction"]]
                waiting[1].set_result(reply)
            elif reply["janus"] == "event":
                say(room=reply["plugindata"]["data"], t=time.time())
            elif reply["janus"] not in ("ack", "webrtcup", "media"):
                say(janus=reply["janus"], t=time.time())
        say(gone=True)

    async def alive(self):
        while True:
            await asyncio.sleep(3)
            await self.ask("keepalive", final=("ack", "error"))

    async def connect(self, http):
        self.socket = await http.ws_connect(self.url, protocols=["janus-protocol"])
        asyncio.ensure_future(self.read())
        self.session = (await self.ask("create"))["data"]["id"]
        asyncio.ensure_future(self.alive())
        self.handle = (await self.ask("attach", plugin="janus.plugin.audiobridge"))["data"]["id"]
        await self.join()

    async def join(self):
        joined = await self.ask("message", body={"request": "join", "room": self.room, "display": self.display})
        self.pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self.voice = Voice()
        self.pc.addTrack(self.voice)
        self.pc.on("track", lambda track: asyncio.ensure_future(self.listen(track)))
        await self.pc.setLocalDescription(await self.pc.createOffer())
        sdp = self.pc.localDescription.sdp
        if self.stereo:
            lines = sdp.split("\r\n")
            opus = next(line.split(":")[1].split()[0] for line in lines if "opus/48000" in line)
            at = next(n for n, line in enumerate(lines) if line.startswith(f"a=rtpmap:{opus} "))
            lines.insert(at + 1, f"a=fmtp:{opus} stereo=1;sprop-stereo=1")
            sdp = "\r\n".join(lines)
        body = {"request": "configure", "muted": False}
        reply = await self.ask("message", body=body, jsep={"type": "offer", "sdp": sdp})
        await self.pc.setRemoteDescription(RTCSessionDescription(reply["jsep"]["sdp"], "answer"))
        say(joined=joined["plugindata"]["data"], t=time.time())

    async def leave(self):
        await self.ask("message", body={"request": "leave"})
        await self.ask("hangup")
        await self.pc.close()
        say(left=True)

    async def listen(self, track):
        resampler = av.AudioResampler(format="s16", layout="mono", rate=16_000)
        try:
            while True:
                frame = await track.recv()
                self.times.append(time.monotonic())
                self.heard += [f.to_ndarray().reshape(-1) for f in resampler.resample(frame)]
        except MediaStreamError:
            pass

    def save(self, path):
        with wave.open(path, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(16_000)
            file.writeframes(np.concatenate(self.heard).tobytes() if self.heard else b"")
        say(saved=path)

    async def command(self, what):
        if "play" in what:
            self.voice.queue = load(what["play"])
            self.voice.playing = len(self.voice.queue) / RATE
            say(playing=self.voice.playing, t=time.time(), at=sum(map(len, self.heard)))
        elif "hush" in what:
            self.voice.queue = self.voice.queue[:0]
        elif "mark" in what:
            say(mark=what["mark"], at=sum(map(len, self.heard)), t=time.time())
        elif "save" in what:
            self.save(what["save"])
        elif "stats" in what:
            times = self.times
            gap = max((b - a for a, b in zip(times, times[1:])), default=0)
            say(frames=len(times), span=times[-1] - times[0] if times else 0, gap=gap)
            self.times = []
        elif "leave" in what:
            await self.leave()
        elif "join" in what:
            await self.join()
        elif "bye" in what:
            return False
        return True


async def main():
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    url, secret, room = words[:3]
    device = Device(url, secret, int(room), words[3] if len(words) > 3 else "device", "--stereo" in sys.argv)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    async with aiohttp.ClientSession() as http:
        await device.connect(http)
        while line := await reader.readline():
            if not await device.command(json.loads(line)):
                break
        await device.pc.close()
        await device.socket.close()


asyncio.run(main())
