"""A xiaozhi device, written from the description of its protocol and sharing no code with the server.

It codes and decodes with libopus itself, keeps the times of what arrives, and rejects what firmware would reject.
Usage: xiaozhi_device.py URL SCENARIO [JSON options]; prints one line of JSON, or fails with an assertion.
"""

import asyncio
import base64
import ctypes
import hashlib
import hmac
import json
import os
import struct
import sys
import time
import uuid
import wave

import aiohttp
import numpy as np

OPUS = ctypes.CDLL("libopus.so.0")
OPUS.opus_encoder_create.restype = ctypes.c_void_p
OPUS.opus_decoder_create.restype = ctypes.c_void_p
APPLICATION_VOIP = 2048

# Several run at once, and a device that comes a second time takes its own place.
NAME = "02:" + os.urandom(5).hex(":")


class Encoder:
    """60 ms of 16 kHz mono in, a packet out."""

    def __init__(self):
        error = ctypes.c_int()
        self.state = ctypes.c_void_p(OPUS.opus_encoder_create(16_000, 1, APPLICATION_VOIP, ctypes.byref(error)))
        assert error.value == 0

    def encode(self, samples):
        samples = np.ascontiguousarray(samples, dtype="<i2")
        packet = (ctypes.c_ubyte * 1500)()
        size = OPUS.opus_encode(self.state, samples.ctypes.data_as(ctypes.c_void_p), len(samples), packet, 1500)
        assert size > 0, size
        return bytes(packet[:size])


class Decoder:
    def __init__(self, rate):
        error = ctypes.c_int()
        self.state = ctypes.c_void_p(OPUS.opus_decoder_create(rate, 1, ctypes.byref(error)))
        assert error.value == 0

    def decode(self, packet):
        out = np.zeros(5760, dtype="<i2")
        size = OPUS.opus_decode(self.state, packet, len(packet), out.ctypes.data_as(ctypes.c_void_p), len(out), 0)
        assert size > 0, f"an Opus packet that does not decode: {size}"
        return out[:size].copy()


def pack(version, packet, time_ms):
    if version == 2:
        return struct.pack(">HHIII", 2, 0, 0, time_ms, len(packet)) + packet
    if version == 3:
        return struct.pack(">BBH", 0, 0, len(packet)) + packet
    return packet


def unpack(version, message):
    if version == 2:
        v, kind, _, _, size = struct.unpack(">HHIII", message[:16])
        assert (v, kind, size) == (2, 0, len(message) - 16), message[:16].hex()
        return message[16:]
    if version == 3:
        kind, _, size = struct.unpack(">BBH", message[:4])
        assert (kind, size) == (0, len(message) - 4), message[:4].hex()
        return message[4:]
    return message


def token(key, client, device, now):
    mac = hmac.new(key.encode(), f"{client}|{device}|{now}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode() + f".{now}"


def read_wav(path):
    with wave.open(path) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16_000, 1, 2)
        return np.frombuffer(file.readframes(file.getnframes()), dtype="<i2")


class Device:
    """One device: `got` is all that came, in order, each with its time."""

    TOOLS = [
        {"name": "self.get_device_status", "description": "The state of the device",
         "inputSchema": {"type": "object", "properties": {}}},
        {"name": "self.audio_speaker.set_volume", "description": "Set the volume of the speaker, 0 to 100",
         "inputSchema": {"type": "object", "properties": {"volume": {"type": "integer"}}, "required": ["volume"]}},
    ]

    def __init__(self, url, version=1, device=NAME, mcp=False, headers=None):
        self.url = url.replace("http", "ws", 1) + "/xiaozhi/v1/"
        self.version = version
        self.client = str(uuid.uuid4())
        self.headers = {"Protocol-Version": str(version), "Client-Id": self.client}
        if device:
            self.headers["Device-Id"] = device
        self.headers.update(headers or {})
        self.mcp = mcp
        self.got = []
        self.calls = []
        self.sound = []
        self.news = asyncio.Event()
        self.closed = None

    async def __aenter__(self):
        self.http = aiohttp.ClientSession()
        self.socket = await self.http.ws_connect(self.url, headers=self.headers)
        self.reader = asyncio.create_task(self.read())
        return self

    async def __aexit__(self, *_):
        self.reader.cancel()
        await self.socket.close()
        await self.http.close()

    async def read(self):
        async for message in self.socket:
            now = time.monotonic()
            if message.type == aiohttp.WSMsgType.TEXT:
                try:
                    self.got.append((now, json.loads(message.data)))
                except json.JSONDecodeError:
                    self.got.append((now, message.data))
                await self.answer_mcp(self.got[-1][1])
            elif message.type == aiohttp.WSMsgType.BINARY:
                packet = unpack(self.version, message.data)
                samples = self.decoder.decode(packet)
                assert len(samples) == self.rate * 60 // 1000, f"{len(samples)} samples in a packet"
                self.sound.append(samples)
                self.got.append((now, packet))
            self.news.set()
        self.closed = self.socket.close_code
        self.news.set()

    async def answer_mcp(self, message):
        if not isinstance(message, dict) or message.get("type") != "mcp":
            return
        asked = message["payload"]
        assert asked["jsonrpc"] == "2.0" and message["session_id"] == self.session
        params = asked.get("params", {})
        if asked["method"] == "initialize":
            assert params["protocolVersion"] == "2024-11-05" and params["clientInfo"]["name"]
            result = {"protocolVersion": "2024-11-05", "capabilities": {"tools": {}},
                      "serverInfo": {"name": "test-board", "version": "1"}}
        elif asked["method"] == "tools/list":
            at = int(params.get("cursor") or 0)
            result = {"tools": self.TOOLS[at:at + 1], "nextCursor": str(at + 1) if at + 1 < len(self.TOOLS) else ""}
        elif asked["method"] == "tools/call":
            self.calls.append(params)
            result = {"content": [{"type": "text", "text": "true"}], "isError": False}
        else:
            return
        await self.send({"session_id": self.session, "type": "mcp",
                         "payload": {"jsonrpc": "2.0", "id": asked["id"], "result": result}})

    async def send(self, message):
        await self.socket.send_str(message if isinstance(message, str) else json.dumps(message))

    async def until(self, what, found, timeout=20):
        """The first that `found` gives for what has come."""
        end = time.monotonic() + timeout
        while True:
            result = found()
            if result:
                return result
            left = end - time.monotonic()
            assert left > 0, f"waited {timeout} s for {what}; got {self.words()}, closed {self.closed}"
            self.news.clear()
            try:
                await asyncio.wait_for(self.news.wait(), left)
            except asyncio.TimeoutError:
                pass

    def messages(self, **like):
        return [(t, m) for t, m in self.got if isinstance(m, dict) and all(m.get(k) == v for k, v in like.items())]

    def packets(self):
        return [(t, m) for t, m in self.got if isinstance(m, bytes)]

    async def message(self, timeout=20, **like):
        return (await self.until(str(like), lambda: self.messages(**like), timeout))[-1]

    def words(self):
        """All that came in short, packets together."""
        words = []
        for _, m in self.got:
            if isinstance(m, bytes):
                word = "sound"
            elif isinstance(m, dict):
                word = ":".join(str(m[k]) for k in ("type", "state") if k in m)
            else:
                word = str(m)
            if not words or words[-1] != word:
                words.append(word)
        return words

    async def hello(self, version=None):
        began = time.monotonic()
        await self.send({
            "type": "hello", "version": version or self.version, "transport": "websocket",
            "features": {"mcp": True} if self.mcp else {},
            "audio_params": {"format": "opus", "sample_rate": 16000, "channels": 1, "frame_duration": 60},
        })
        at, hello = await self.message(type="hello", timeout=10)
        assert hello["transport"] == "websocket" and hello["session_id"]
        audio = hello["audio_params"]
        assert audio["format"] == "opus" and audio["frame_duration"] == 60 and audio["channels"] == 1
        self.session, self.rate = hello["session_id"], audio["sample_rate"]
        self.decoder = Decoder(self.rate)
        return at - began

    async def listen(self, state, **more):
        await self.send({"session_id": self.session, "type": "listen", "state": state, **more})

    async def speak(self, samples, then=0.0):
        """Sends sound and then silence, as fast as a microphone makes it."""
        encoder = Encoder()
        silence = np.zeros(int(then * 16_000), dtype="<i2")
        samples = np.concatenate([samples, silence])
        samples = np.concatenate([samples, np.zeros(-len(samples) % 960, dtype="<i2")])
        began = time.monotonic()
        for n, at in enumerate(range(0, len(samples), 960)):
            await self.socket.send_bytes(pack(self.version, encoder.encode(samples[at:at + 960]), n * 60))
            await asyncio.sleep(max(0, began + (n + 1) * 0.06 - time.monotonic()))
        return time.monotonic() - then

    async def answer(self, timeout=30):
        """Waits for the end of an answer; its packets' times."""
        _, stop = await self.message(type="tts", state="stop", timeout=timeout)
        return [t for t, _ in self.packets()]

    def heard(self):
        return np.concatenate(self.sound) if self.sound else np.zeros(0, dtype="<i2")


def save(path, rate, samples):
    with wave.open(path, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())


def check_order(device):
    words = [w for w in device.words() if w not in ("hello", "mcp", "alert")]
    assert words[0] == "stt" and words[1] == "tts:start" and words[-1] == "tts:stop", words
    assert "llm" in words and words.index("llm") < words.index("tts:sentence_start"), words
    assert words.index("tts:sentence_start") <= words.index("sound") + 1, words
    assert all(m.get("session_id") == device.session for _, m in device.messages() if m["type"] != "hello"), device.got


def pace(times):
    """How far ahead of their time packets are (five at once: 300 ms less what the first one took), and the time between two."""
    ahead = np.arange(len(times)) * 60 - (np.array(times) - times[0]) * 1000
    steps = np.diff(times[5:]) * 1000
    return {"ahead": float(np.median(ahead[5:])), "median": float(np.median(steps)), "packets": len(times)}


# 11, 18: one whole exchange.
async def talk(url, wav, version=1, mode="auto", out=None, **_):
    async with Device(url, version) as device:
        hello = await device.hello()
        assert hello < 1, hello
        await device.listen("start", mode=mode)
        speech = read_wav(wav)
        if mode == "manual":
            ended = await device.speak(speech)
            await device.listen("stop")
        else:
            speaking = asyncio.create_task(device.speak(speech, then=3))
            heard, _ = await device.message(type="stt", timeout=30)
            ended = None if not speaking.done() else speaking.result()
            ended = ended or heard
        at, stt = await device.message(type="stt", timeout=30)
        times = await device.answer()
        if mode != "manual":
            await speaking
        check_order(device)
        if out:
            save(out, device.rate, device.heard())
        loud = float(np.sqrt(np.mean((device.heard() / 32768.0) ** 2)))
        return {"hello_ms": hello * 1000, "stt": stt["text"], "rate": device.rate, "rms": loud, **pace(times),
                "sentences": [m["text"] for _, m in device.messages(type="tts", state="sentence_start")]}


# 12: a wake word or a typed text; and abort while it speaks.
async def detect(url, text, **_):
    async with Device(url) as device:
        await device.hello()
        await device.listen("detect", text=text)
        _, stt = await device.message(type="stt")
        times = await device.answer()
        check_order(device)
        return {"stt": stt["text"], **pace(times)}


async def abort(url, text, **_):
    async with Device(url) as device:
        await device.hello()
        await device.listen("detect", text=text)
        await device.until("sound", lambda: len(device.packets()) >= 8)
        began = time.monotonic()
        await device.send({"session_id": device.session, "type": "abort", "reason": "wake_word_detected"})
        stopped, _ = await device.message(type="tts", state="stop", timeout=5)
        await asyncio.sleep(1.5)
        later = [t for t, _ in device.packets() if t > stopped]
        assert not later, f"{len(later)} packets after the stop"
        # And it listens on.
        count = len(device.messages(type="tts", state="stop"))
        await device.listen("detect", text=text)
        await device.until("a second answer", lambda: len(device.messages(type="tts", state="start")) > 1)
        await device.send({"session_id": device.session, "type": "abort"})
        await device.until("its stop", lambda: len(device.messages(type="tts", state="stop")) > count)
        return {"stop_ms": (stopped - began) * 1000}


# 12: the microphone stays open, and speech cuts in.
async def realtime(url, wav, **_):
    async with Device(url, 3) as device:
        await device.hello()
        await device.listen("start", mode="realtime")
        speech = read_wav(wav)
        first = asyncio.create_task(device.speak(speech, then=2))
        await device.until("sound", lambda: len(device.packets()) >= 6, timeout=30)
        await first
        began = time.monotonic()
        second = asyncio.create_task(device.speak(speech, then=2))
        await device.until("a second stt", lambda: len(device.messages(type="stt")) == 2, timeout=30)
        await second
        await device.until("the end of the second answer",
                           lambda: len(device.messages(type="tts", state="stop")) == 2, timeout=40)
        times = [t - began for t, _ in device.packets() if t > began]
        gaps = [(a, b - a) for a, b in zip(times, times[1:]) if b - a > 0.3]
        return {"silent_after_ms": gaps[0][0] * 1000 if gaps else None, "stts": [m["text"] for _, m in device.messages(type="stt")]}


# 10: the same device by two ways: what is said on its WebRTC connection is told on its main socket.
async def associate(url, wav, replaces=True, **_):
    from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
    from av import AudioFrame

    speech = read_wav(wav)

    class Microphone(MediaStreamTrack):
        kind = "audio"
        at = 0
        said = None

        async def recv(self):
            self.begun = getattr(self, "begun", None) or time.monotonic()
            await asyncio.sleep(max(0, self.begun + self.at / 16_000 - time.monotonic()))
            samples = np.zeros(320, dtype="<i2")
            if self.said is not None and (self.at - self.said) < len(speech):
                part = speech[self.at - self.said:self.at - self.said + 320]
                samples[:len(part)] = part
            frame = AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
            frame.sample_rate, frame.pts = 16_000, self.at
            self.at += 320
            return frame

    name = "02:00:00:00:00:77"
    async with Device(url, device=name) as device:
        await device.hello()
        signalling = await device.http.ws_connect(url.replace("http", "ws", 1) + "/ws/signaling?device-id=" + name)
        peer, microphone, levels = RTCPeerConnection(), Microphone(), []
        peer.addTrack(microphone)
        peer.createDataChannel("control", ordered=True, maxRetransmits=5)

        async def hear(track):
            while True:
                frame = await track.recv()
                levels.append((time.monotonic(), float(np.sqrt(np.mean((frame.to_ndarray() / 32768.0) ** 2)))))

        peer.on("track", lambda track: asyncio.ensure_future(hear(track)))
        await peer.setLocalDescription(await peer.createOffer())
        offer = {"type": peer.localDescription.type, "sdp": peer.localDescription.sdp}
        await signalling.send_str(json.dumps({"type": "offer", "payload": offer}))
        while True:
            message = json.loads((await signalling.receive(timeout=10)).data)
            if message["type"] == "answer":
                break
        await peer.setRemoteDescription(RTCSessionDescription(**message["payload"]))
        end = time.monotonic() + 10
        while len(levels) < 50:
            assert time.monotonic() < end, "no sound of the WebRTC connection"
            await asyncio.sleep(0.05)
        await device.listen("start", mode="auto")
        microphone.said = microphone.at
        await device.message(type="stt", timeout=30)
        started, _ = await device.message(type="tts", state="start")
        stopped, _ = await device.message(type="tts", state="stop", timeout=40)
        order = [w for w in device.words() if w not in ("hello", "mcp", "sound")]
        loudest = max(level for at, level in levels if started <= at <= stopped)
        seen = {"order": order, "stt": device.messages(type="stt")[-1][1]["text"], "webrtc": loudest,
                "packets": len(device.packets())}
        # Without the connection, the socket has its sound back.
        await peer.close()
        await signalling.close()
        await asyncio.sleep(1)
        before = len(device.packets())
        await device.listen("detect", text="And now?")
        await device.until("a second stop", lambda: len(device.messages(type="tts", state="stop")) == 2, timeout=40)
        return {**seen, "later_packets": len(device.packets()) - before}


# 13: the model uses the device.
async def mcp(url, text, **_):
    async with Device(url, mcp=True) as device:
        await device.hello()
        await device.until("the list of tools", lambda: len(device.messages(type="mcp")) >= 3)
        await asyncio.sleep(0.3)
        await device.listen("detect", text=text)
        await device.answer()
        return {"calls": device.calls, "sentences": [m["text"] for _, m in device.messages(type="tts", state="sentence_start")]}


# 14: who is not let in, and how it is told.
async def refused(url, headers=None, device=NAME, **_):
    async with Device(url, device=device, headers=headers) as peer:
        peer.rate, peer.session = 24_000, ""
        await peer.until("the close", lambda: peer.closed, timeout=15)
        return {"texts": [m for _, m in peer.got], "code": peer.closed}


async def admitted(url, headers=None, device=NAME, key=None, age=0, **_):
    peer = Device(url, device=device, headers=headers)
    if key:
        peer.headers["Authorization"] = "Bearer " + token(key, peer.client, device, int(time.time()) - age)
    async with peer:
        return {"hello_ms": await peer.hello() * 1000}


# 14: nobody says anything.
async def silent(url, **_):
    began = time.monotonic()
    async with Device(url) as device:
        await device.hello()
        await device.until("the close", lambda: device.closed, timeout=60)
        return {"after_s": time.monotonic() - began, "words": device.words(), "code": device.closed,
                "sentences": [m["text"] for _, m in device.messages(type="tts", state="sentence_start")]}


# 20: the address and the token that the OTA route gives are good.
async def ota(url, device=NAME, **_):
    client = str(uuid.uuid4())
    async with aiohttp.ClientSession() as http:
        body = {"version": 2, "application": {"name": "xiaozhi", "version": "1.7.6"}, "board": {"type": "test"}}
        headers = {"Device-Id": device, "Client-Id": client}
        async with http.post(url + "/xiaozhi/ota/", json=body, headers=headers) as reply:
            assert reply.status == 200, reply.status
            told = await reply.json()
        async with http.post(url + "/xiaozhi/ota/", json=body) as reply:
            assert reply.status == 400, "without a device id"
        async with http.get(url + "/xiaozhi/ota/") as reply:
            status = await reply.text()
        async with http.get(url + "/xiaozhi/v1/") as reply:
            assert await reply.text() == "Server is running\n"
    assert told["firmware"] == {"version": "1.7.6", "url": ""}
    assert abs(told["server_time"]["timestamp"] / 1000 - time.time()) < 5
    assert told["websocket"]["url"] in status
    peer = Device(url, device=device, headers={"Client-Id": client})
    peer.url = told["websocket"]["url"]
    if told["websocket"]["token"]:
        peer.headers["Authorization"] = "Bearer " + told["websocket"]["token"]
    async with peer:
        await peer.hello()
    return told


# Odd messages do no harm.
async def odd(url, **_):
    async with Device(url) as device:
        await device.send("7")
        await device.send("not json")
        await device.until("the echoes", lambda: len(device.got) == 2)
        assert [m for _, m in device.got] == [7, "not json"], device.got
        await device.hello()
        for message in ({"type": "iot", "descriptors": []}, {"type": "nonsense"}, {"type": 3}, [1], {"type": "listen"},
                        {"type": "mcp"}, {"type": "mcp", "payload": {"id": 99, "result": {}}}, {"type": "hello"},
                        {"type": "listen", "state": "detect", "text": ""}):
            await device.send(message)
        for message in (b"", b"\xff", b"\x00" * 3000):
            await device.socket.send_bytes(message)
        await device.send({"type": "ping"})
        await device.message(type="pong")
        await device.send({"type": "server", "action": "restart", "content": {"secret": "x"}})
        await device.message(type="server", status="error")
        await device.listen("detect", text="Are you still there?")
        await device.answer()
        return {"words": device.words()}


# Comes and goes.
async def cycles(url, count=100, **_):
    for n in range(count):
        async with Device(url, device=f"02:00:00:00:01:{n:02x}") as device:
            await device.hello()
            if n % 10 == 0:
                await device.listen("detect", text="Hello.")
                await device.until("sound", device.packets)
    return {"count": count}


if __name__ == "__main__":
    options = json.loads(sys.argv[3]) if len(sys.argv) > 3 else {}
    print(json.dumps(asyncio.run(globals()[sys.argv[2]](sys.argv[1].rstrip("/"), **options))))
