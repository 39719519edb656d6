"""A MiniCPM-o 2.6 server without the model: its protocol, its manners and its faults.

Written from the server's documents and source (web_demos/minicpm-o_2.6), not from our client. It listens as the server does:
200 ms slices, voice in the last five of them, speech that begins after 0.4 s of voice and ends when there is too little. It
answers with a sine at 24 kHz. What the server would refuse is refused, and told to the test at /_seen.

    python minicpm_standin.py PORT ...          one server on each
"""

import asyncio
import base64
import collections
import io
import json
import os
import sys
import time
import wave

import numpy as np
from aiohttp import WSMsgType, web

SLICE = 3200
OPTIONS = {
    "hd_video": bool,
    "use_audio_prompt": int,
    "vad_threshold": (int, float),
    "voice_clone_prompt": str,
    "assistant_prompt": str,
}


class Model:
    """The one conversation of the server."""

    def __init__(self):
        # What the test sets.
        self.mode = {
            "chunks": 3,  # pieces of an answer
            "samples": 12_800,  # of each, at `rate`
            "rate": 24_000,
            "hz": 1_000,
            "amp": 8_000,
            "pace": 0.0,  # seconds between pieces
            "sse": "normal",  # normal, bytes, crlf, tight (no space), comments
            "busy": 0,  # so many completions are refused with 503
            "error": "",  # the answer is this error
            "cut": 0,  # the connection is cut after so many pieces
            "close_ws": 0,  # the upload is closed with this code at the next slice
            "init": 200,
            "deaf": False,  # nothing that is said is understood
            "late": 0.0,  # seconds until a question is taken
        }
        self.order = []
        self.faults = []
        self.acks = collections.Counter()
        self.pcm = []
        self.arrivals = []
        self.options = None
        self.uid = None
        self.session = 0
        self.stopped = False
        self.generating = False
        self.sockets = set()
        self.streams = 0
        self.reset()

    def reset(self):
        self.window = collections.deque(maxlen=5)
        self.speech = []
        self.started = None
        self.ended = False
        self.last_upload = time.monotonic()

    def log(self, what, **more):
        self.order.append({"t": time.time(), "what": what, **more})

    def fault(self, what):
        self.faults.append(what)

    def hear(self, samples):
        """The finish reason of an upload."""
        self.last_upload = time.monotonic()
        if self.ended or self.generating:
            return "skip"
        self.window.append(samples)
        heard = np.concatenate(self.window).astype(np.float64) / 32_768
        frames = heard[: len(heard) // 320 * 320].reshape(-1, 320)
        voiced = float((np.sqrt((frames**2).mean(axis=1)) > 0.01).sum()) * 0.02
        if self.started is None:
            if np.sqrt((heard**2).mean()) > 0.002 and voiced > 0.4 and not self.mode["deaf"]:
                self.started = time.monotonic()
                self.speech = list(self.window)
        else:
            self.speech.append(samples)
            threshold = (self.options or {}).get("vad_threshold", 0.2)
            if voiced < 1 - threshold and time.monotonic() - self.started >= 0.6:
                self.ended = True
        return "done"

    def has_heard_all(self):
        silent = self.started is not None and time.monotonic() - self.last_upload > 3
        return self.ended or silent


MODEL = web.AppKey("model", Model)


def wav(samples, rate):
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, "<i2").tobytes())
    return base64.b64encode(out.getvalue()).decode()


def uid_of(request, place):
    model = request.app[MODEL]
    uid = request.headers.get("uid")
    if not uid:
        model.fault(f"{place}: no uid")
        raise web.HTTPBadRequest(text='{"detail":"Missing uid in headers"}')
    return uid


def ack(uid, reason):
    return {"id": uid, "choices": {"role": "assistant", "content": "success", "finish_reason": reason}}


async def health(_):
    return web.json_response({"status": "OK"})


async def stop(request):
    model = request.app[MODEL]
    uid = uid_of(request, "stop")
    model.log("stop", uid=uid)
    # Whoever says it.
    model.stopped = True
    return web.json_response(ack(uid, "stop"))


async def init_options(request):
    model = request.app[MODEL]
    uid = uid_of(request, "init_options")
    model.log("init_options", uid=uid)
    if model.mode["init"] != 200:
        return web.json_response({"detail": "init options error: no"}, status=model.mode["init"])
    try:
        content = (await request.json())["messages"][0]["content"]
        for item in content:
            if item["type"] == "input_audio":
                assert isinstance(item["input_audio"]["data"], str) and item["input_audio"]["format"] in ("wav", "mp3")
            elif item["type"] == "options":
                options = item["options"]
                for key, kind in OPTIONS.items():
                    value = options[key]
                    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                        raise ValueError(f"{key} is {value!r}")
                model.options = options
            else:
                raise ValueError(item["type"])
    except Exception as error:
        model.fault(f"init_options: {error!r}")
        return web.json_response({"detail": f"init options error: {error!r}"}, status=400)
    return web.json_response({"id": uid, "choices": {"role": "assistant", "content": "2.6", "finish_reason": "done"}})


async def stream(request):
    model = request.app[MODEL]
    uid, service = request.query.get("uid"), request.query.get("service")
    if not uid or service != "minicpmo-server":
        model.fault(f"ws: uid {uid}, service {service}")
        raise web.HTTPForbidden()
    socket = web.WebSocketResponse(max_msg_size=1 << 20)
    await socket.prepare(request)
    model.log("ws", uid=uid)
    model.sockets.add(socket)
    try:
        async for message in socket:
            if message.type != WSMsgType.TEXT:
                model.fault("ws: a message that is no text")
                break
            if model.mode["close_ws"]:
                code, model.mode["close_ws"] = model.mode["close_ws"], 0
                if code == 1005:
                    await socket._writer.send_frame(b"", 0x8)
                    await asyncio.sleep(0.2)
                    return socket
                await socket.close(code=code)
                break
            await socket.send_json(upload(model, uid, message.data))
    finally:
        model.sockets.discard(socket)
        model.log("ws closed", uid=uid, code=socket.close_code)
    return socket


def upload(model, uid, text):
    try:
        body = json.loads(text)
    except ValueError:
        model.fault("upload: no JSON")
        return {"error": "Invalid JSON"}
    if model.uid is not None and model.uid != uid:
        return {"error": "UID changed in stream"}
    model.uid = uid
    try:
        assert body["uid"] == uid, "another uid"
        content = body["messages"][0]["content"]
        assert body["messages"][0]["role"] == "user" and len(content) == 1, "not one item"
        sound = content[0]["input_audio"]
        assert content[0]["type"] == "input_audio" and sound["format"] == "wav", "no sound"
        assert isinstance(sound["timestamp"], str) and int(sound["timestamp"]) > 0, "no timestamp"
        raw = base64.b64decode(sound["data"], validate=True)
        with wave.open(io.BytesIO(raw)) as file:
            kind = (file.getnchannels(), file.getsampwidth(), file.getframerate(), file.getnframes())
            assert kind == (1, 2, 16_000, SLICE), f"a WAV of {kind}"
            samples = np.frombuffer(file.readframes(SLICE), "<i2")
        assert len(samples) == SLICE and len(raw) == 44 + 2 * SLICE, "a WAV that lies"
    except Exception as error:
        model.fault(f"upload: {error!r}")
        return {"error": "Invalid request format"}
    model.pcm.append(samples)
    model.arrivals.append(time.time())
    reason = model.hear(samples)
    model.acks[reason] += 1
    return ack(uid, reason)


async def completions(request):
    model = request.app[MODEL]
    uid = uid_of(request, "completions")
    if request.headers.get("service") != "minicpmo-server":
        model.fault("completions: no service")
    body = await request.json()
    await asyncio.sleep(model.mode["late"])
    assert body["stream"] is True and body["messages"][0]["role"] == "user"
    model.log("completions", uid=uid, slices_before=len(model.pcm))
    if model.mode["busy"]:
        model.mode["busy"] -= 1
        return web.json_response({"detail": "busy"}, status=503)
    if model.uid != uid:
        model.uid = uid
        model.session += 1
        model.generating = False
    elif model.generating:
        return web.json_response({"detail": "busy"}, status=503)
    model.stopped = False
    model.reset()
    reply = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"})
    await reply.prepare(request)
    model.streams += 1
    session = model.session
    try:
        await answer(model, request, reply, uid, session)
    except (ConnectionResetError, asyncio.CancelledError):
        model.log("sse gone", uid=uid)
        raise
    finally:
        model.streams -= 1
        if session == model.session:
            model.generating = False
            model.reset()
        model.log("sse end", uid=uid)
    return reply


async def answer(model, request, reply, uid, session):
    gone = lambda: session != model.session or request.transport is None or request.transport.is_closing()
    while not model.has_heard_all():
        if model.stopped or gone():
            return
        await asyncio.sleep(0.1)
    model.generating = True
    mode = dict(model.mode)
    if mode["error"]:
        await reply.write(f'data:{{"error":"{mode["error"]}"}}\n\n'.encode())
        return
    say = Say(reply, uid, mode["sse"])
    await say.raw("event: message\n")
    await say.piece("assistant:\n", wav(np.concatenate(model.speech), 16_000))
    for n in range(mode["chunks"]):
        if model.stopped or gone():
            return
        at = np.arange(n * mode["samples"], (n + 1) * mode["samples"])
        tone = np.round(mode["amp"] * np.sin(2 * np.pi * mode["hz"] * at / mode["rate"]))
        await say.piece(f"piece {n} ", wav(tone, mode["rate"]))
        model.log("piece", n=n)
        if mode["cut"] == n + 1:
            request.transport.abort()
            return
        await asyncio.sleep(mode["pace"])
    await say.piece("\n<end>", None)


class Say:
    """Server-sent events in every dress that they may come in."""

    def __init__(self, reply, uid, style):
        self.reply, self.uid, self.style = reply, uid, style

    async def raw(self, text):
        if self.style == "crlf":
            text = text.replace("\n", "\r\n")
        if self.style == "comments":
            text = ": a comment\n" + text
        bytes_ = text.encode()
        if self.style == "bytes":
            for byte in bytes_:
                await self.reply.write(bytes([byte]))
        else:
            await self.reply.write(bytes_)

    async def piece(self, text, audio):
        choice = {"role": "assistant", "audio": audio, "text": text, "finish_reason": "processing"}
        body = json.dumps({"id": self.uid, "response_id": 1, "choices": [choice], "completed": False})
        space = "" if self.style in ("tight", "bytes") else " "
        await self.raw(f"data:{space}{body}\n\n")


async def seen(request):
    model = request.app[MODEL]
    return web.json_response(
        {
            "order": model.order,
            "faults": model.faults,
            "acks": model.acks,
            "slices": len(model.pcm),
            "arrivals": model.arrivals,
            "options": model.options,
            "sockets": len(model.sockets),
            "streams": model.streams,
            "session": model.session,
        }
    )


async def pcm(request):
    model = request.app[MODEL]
    return web.Response(body=b"".join(samples.tobytes() for samples in model.pcm))


async def set_mode(request):
    model = request.app[MODEL]
    wanted = await request.json()
    assert wanted.keys() <= model.mode.keys(), wanted
    model.mode.update(wanted)
    return web.json_response({})


async def steal(request):
    """Another client comes, as the server lets it."""
    model = request.app[MODEL]
    model.uid, model.session = "somebody else", model.session + 1
    return web.json_response({})


async def die(_):
    os._exit(1)


def app():
    app = web.Application(client_max_size=8 << 20)
    app[MODEL] = Model()
    for prefix in ("", "/api/v1"):
        app.router.add_post(f"{prefix}/stop", stop)
        app.router.add_post(f"{prefix}/init_options", init_options)
        app.router.add_post(f"{prefix}/completions", completions)
        app.router.add_get(f"/ws{prefix}/stream", stream)
    app.router.add_get("/health", health)
    app.router.add_get("/_seen", seen)
    app.router.add_get("/_pcm", pcm)
    app.router.add_post("/_set", set_mode)
    app.router.add_post("/_steal", steal)
    app.router.add_post("/_die", die)
    return app


async def main():
    for port in sys.argv[1:]:
        runner = web.AppRunner(app(), handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", int(port)).start()
    print("listening", flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
