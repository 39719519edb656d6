"""Stand-ins for the voices that Visavis asks, one process for all of them.

Written from the services' documents and apart from the clients, so that both have to be right. Whatever a service would
refuse is refused here, too. The first part of each path is the scenario (`/ok/...`, `/stall/...`): how the answer goes
wrong. Every scenario sends the same sweep, in the service's encoding, in pieces of random length, but for `tones`, of
Edge alone: there each clause is a tone of its own, and its text says of what pitch (see `tone`).

Prints its port; ends when its standard input does. `GET /log` tells what was asked, `GET /open` how many answers are
under way.
"""

import asyncio
import base64
import datetime
import email.utils
import functools
import gzip
import hashlib
import hmac
import io
import json
import math
import random
import re
import struct
import subprocess
import sys
import time
import uuid
import wave
import xml.etree.ElementTree as ET

import numpy
from aiohttp import WSMsgType, web

SECONDS = 1.2345
LOG = []
OPEN = set()
RANDOM = random.Random(7)


@functools.cache
def sweep(rate):
    """200 to 3000 Hz at half of full scale, with soft ends."""
    n = round(SECONDS * rate)
    t = numpy.arange(n) / rate
    phase = 2 * math.pi * (200 * t + 2800 * t * t / (2 * SECONDS))
    edge = numpy.minimum(1, numpy.minimum(t, SECONDS - t) / 0.01)
    return numpy.round(16000 * edge * numpy.sin(phase)).astype("<i2").tobytes()


@functools.cache
def mp3(rate, before=0.0, after=0.0):
    pad = lambda seconds: b"\0\0" * round(seconds * rate)
    return encoded(pad(before) + sweep(rate) + pad(after), rate)


def encoded(pcm, rate):
    command = f"ffmpeg -loglevel error -f s16le -ar {rate} -ac 1 -i - -b:a 48k -write_xing 0 -id3v2_version 0 -f mp3 -"
    return subprocess.run(command.split(), input=pcm, stdout=subprocess.PIPE, check=True).stdout


TONE_SECONDS = 0.36


@functools.cache
def tone(pitch):
    """MP3 of 0.36 s at `pitch` Hz; nothing of it is silence."""
    t = numpy.arange(round(TONE_SECONDS * 24000)) / 24000
    edge = numpy.minimum(1, numpy.minimum(t, TONE_SECONDS - t) / 0.005)
    pcm = numpy.round(12000 * edge * numpy.sin(2 * math.pi * pitch * t)).astype("<i2").tobytes()
    return encoded(pcm, 24000)


def tones(text):
    """What the scenario `tones` says of `text`: 坏 is refused, 慢 is begun and not ended, a number is the pitch."""
    number = re.search(r"[0-9]{3,4}", text)
    return tone(int(number[0]) if number else 440)


@functools.cache
def wav(rate, size=None):
    pcm = sweep(rate)
    size = len(pcm) if size is None else size
    head = b"RIFF" + struct.pack("<I", (size + 36) & 0xFFFFFFFF) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    return head + b"data" + struct.pack("<I", size) + pcm


def pieces(data, largest=997):
    at = 0
    while at < len(data):
        n = RANDOM.randint(1, largest)
        yield data[at : at + n]
        at += n


def scenario(request):
    return request.match_info["scenario"]


def refuse(status, code, **headers):
    return web.json_response({"error": {"code": code, "message": "no"}}, status=status, headers=headers)


class Wrong(Exception):
    """The client broke the protocol."""

    def __init__(self, why, status=400):
        super().__init__(why)
        self.status = status


def check(truth, why, status=400):
    if not truth:
        raise Wrong(why, status)


def note(request, **what):
    LOG.append({"scenario": scenario(request), "path": request.path.split("/", 2)[2], **what})


async def refusals(request):
    """The scenarios in which nothing is ever said; None if the answer is to begin."""
    name = scenario(request)
    if name == "hang":
        await asyncio.sleep(60)
    if name.startswith("status"):
        code = int(name[6:9])
        return refuse(code, f"code_{code}", **({"Retry-After": "2"} if code == 429 else {}))
    if name.startswith("twice"):
        asked = sum(1 for entry in LOG if entry["scenario"] == name and not entry.get("side"))
        if asked <= 2:
            return refuse(503, "overloaded")
    if name == "redirect":
        raise web.HTTPTemporaryRedirect("/leak/here")
    if name == "html":
        return web.Response(text="<html>Bad Gateway</html>", content_type="text/html")
    if name == "json":
        return refuse(200, "quota_exceeded")
    return None


async def stream(request, data, kind):
    """An answer over HTTP, which goes wrong as the scenario says."""
    refusal = await refusals(request)
    if refusal is not None:
        return refusal
    name = scenario(request)
    headers = {"Content-Type": kind} if kind else {}
    if name == "gzip":
        return web.Response(body=gzip.compress(data), headers={**headers, "Content-Encoding": "gzip"})
    if name == "empty":
        return web.Response(body=b"", headers=headers)
    if name == "garbage":
        data = RANDOM.randbytes(60_000).replace(b"\xff", b"\xfe")
    if name == "odd":
        data += b"\x55"
    response = web.StreamResponse(headers=headers)
    if name == "cut":
        response.content_length = len(data)
    OPEN.add(id(response))
    try:
        await response.prepare(request)
        if name == "slow":
            await asyncio.sleep(60)
        if name == "drip":
            for byte in data:
                await response.write(bytes([byte]))
                await asyncio.sleep(0.2)
        if name == "endless":
            while True:
                await response.write(data)
        if name in ("stall", "cut"):
            data = data[: len(data) // 2]
        for piece in pieces(data):
            await response.write(piece)
        if name == "stall":
            while not request.transport.is_closing():
                await asyncio.sleep(0.05)
        if name == "cut":
            request.transport.close()
            return response
        await response.write_eof()
        return response
    except ConnectionError:
        # The client hung up, which is its right.
        return response
    finally:
        OPEN.discard(id(response))


async def body_json(request, allowed, needed):
    check(request.content_type == "application/json", "content type", 415)
    body = json.loads(await request.text())
    check(not set(body) - set(allowed), f"unknown keys {set(body) - set(allowed)}")
    check(not set(needed) - set(body), f"missing keys {set(needed) - set(body)}")
    return body


def bearer(request, token="test-key"):
    check(request.headers.get("Authorization") == f"Bearer {token}", "authorization", 401)


# OpenAI


async def openai(request):
    bearer(request)
    body = await body_json(
        request, ["model", "input", "voice", "instructions", "response_format", "speed", "stream_format", "language", "task_type"], ["model", "input", "voice"]
    )
    check(0 < len(body["input"]) <= 4096 and 0.25 <= body.get("speed", 1) <= 4, "input or speed")
    wishes = {key: body[key] for key in ("speed", "language", "instructions", "task_type") if key in body}
    note(request, text=body["input"], voice=body["voice"], wishes=wishes)
    kinds = {
        "pcm": (sweep, "audio/pcm"),
        "wav": (lambda rate: wav(rate, 0xFFFFFFFF), "audio/wav"),
        "mp3": (mp3, "audio/mpeg"),
    }
    make, kind = kinds[body.get("response_format", "mp3")]
    data = make(24000)
    if scenario(request) == "rate8k":
        data, kind = sweep(8000), "audio/L16; rate=8000; channels=1"
    if scenario(request) == "truth":
        data = wav(24000) + b"LIST" + struct.pack("<I", 8000) + RANDOM.randbytes(8000)
    return await stream(request, data, kind)


# Azure


def speech_markup(text):
    root = ET.fromstring(text)
    space = "{http://www.w3.org/2001/10/synthesis}"
    check(root.tag == space + "speak" and root.get("version") == "1.0", "no speak element")
    check(root.get("{http://www.w3.org/XML/1998/namespace}lang"), "no language")
    (voice,) = list(root)
    check(voice.tag == space + "voice" and voice.get("name"), "no voice")
    (prosody,) = list(voice)
    check(prosody.tag == space + "prosody" and not list(prosody), "no prosody, or markup in the text")
    return voice.get("name"), prosody


async def azure(request):
    check(request.headers.get("Ocp-Apim-Subscription-Key") == "test-key", "key", 401)
    check(request.content_type == "application/ssml+xml", "content type", 415)
    check(request.headers.get("User-Agent"), "no user agent")
    check(request.headers.get("X-Microsoft-OutputFormat") == "raw-16khz-16bit-mono-pcm", "output format")
    voice, prosody = speech_markup(await request.text())
    note(request, text=prosody.text, voice=voice)
    return await stream(request, sweep(16000), "audio/pcm")


# GPT-SoVITS, CosyVoice, Fish, XTTS


async def gpt_sovits(request):
    body = await body_json(
        request,
        "text text_lang ref_audio_path prompt_text prompt_lang speed_factor media_type streaming_mode".split(),
        ["text", "text_lang", "ref_audio_path", "prompt_lang"],
    )
    check(body["text_lang"] in ("zh", "en", "ja", "auto") and body["ref_audio_path"], "language or reference")
    check(body["media_type"] == "wav" and body["streaming_mode"] is True, "another way to stream")
    note(request, text=body["text"])
    return await stream(request, wav(32000, 0), "audio/wav")


async def form(request):
    check(request.content_type == "multipart/form-data", "content type", 422)
    fields = {}
    for name, value in (await request.post()).items():
        if isinstance(value, web.FileField):
            with wave.open(value.file, "rb") as recording:
                check(recording.getnframes() > 0, "an empty recording")
            fields[name] = value.filename
        else:
            fields[name] = value
    return fields


async def cosyvoice(request):
    fields = await form(request)
    needed = {
        "inference_sft": {"tts_text", "spk_id"},
        "inference_zero_shot": {"tts_text", "prompt_text", "prompt_wav"},
        "inference_cross_lingual": {"tts_text", "prompt_wav"},
    }[request.match_info["kind"]]
    check(set(fields) == needed and all(fields.values()), f"fields {set(fields)}", 422)
    note(request, text=fields["tts_text"])
    return await stream(request, sweep(24000), None)


async def fish(request):
    bearer(request)
    body = await body_json(request, ["text", "reference_id", "format", "streaming", "use_memory_cache"], ["text"])
    check(body["format"] == "wav" and body["streaming"] is True, "streams only WAV")
    check(body["use_memory_cache"] in ("on", "off"), "use_memory_cache")
    note(request, text=body["text"], voice=body.get("reference_id"))
    return await stream(request, wav(44100, 0), "audio/wav")


SPEAKER = {"gpt_cond_latent": [[0.25, -1.5]], "speaker_embedding": [0.125, 3.0]}


async def clone_speaker(request):
    check("wav_file" in await form(request), "no wav_file", 422)
    note(request, side=True)
    return web.json_response(SPEAKER)


async def tts_stream(request):
    body = await body_json(
        request, ["text", "language", "stream_chunk_size", "add_wav_header", *SPEAKER], ["text", "language", *SPEAKER]
    )
    check(all(body[key] == SPEAKER[key] for key in SPEAKER), "another speaker", 422)
    check(isinstance(body["stream_chunk_size"], str), "stream_chunk_size is a text", 422)
    note(request, text=body["text"])
    return await stream(request, sweep(24000), "audio/wav" if body.get("add_wav_header", True) else None)


# Gradio: F5-TTS and IndexTTS2


def parameter(name, default=None):
    return {"parameter_name": name, "parameter_has_default": default is not None, "parameter_default": default, "label": name}


PAGES = {
    "f5": {
        "basic_tts": [
            parameter("ref_audio_input"),
            parameter("ref_text_input"),
            parameter("gen_text_input"),
            parameter("remove_silence", False),
            parameter("seed_input", 0),
            parameter("nfe_slider", 32),
            parameter("speed_slider", 1.0),
        ]
    },
    "indextts2": {
        "gen_single": [
            parameter("emo_control_method", "Same as the voice reference"),
            parameter("prompt"),
            parameter("text"),
            parameter("emo_weight", 0.65),
            parameter("max_text_tokens_per_segment", 120),
        ]
    },
}
UPLOADS, CALLS = set(), {}


async def gradio_info(request):
    functions = PAGES[request.match_info["page"]]
    return web.json_response({"named_endpoints": {f"/{name}": {"parameters": p, "returns": []} for name, p in functions.items()}})


async def gradio_upload(request):
    fields = await form(request)
    check("files" in fields, "no files", 422)
    path = f"/tmp/gradio/{uuid.uuid4().hex}/{fields['files']}"
    UPLOADS.add(path)
    return web.json_response([path])


async def gradio_call(request):
    body = await body_json(request, ["data"], ["data"])
    parameters = PAGES[request.match_info["page"]][request.match_info["function"]]
    check(len(body["data"]) == len(parameters), "another number of parameters", 422)
    given = {p["parameter_name"]: value for p, value in zip(parameters, body["data"])}
    for p in parameters:
        if p["parameter_has_default"] and p["parameter_name"] != "speed_slider":
            check(given[p["parameter_name"]] == p["parameter_default"], p["parameter_name"], 422)
    file = given.get("ref_audio_input") or given.get("prompt")
    check(file["path"] in UPLOADS and file["meta"] == {"_type": "gradio.FileData"}, "an unknown recording", 422)
    text = given.get("gen_text_input") or given.get("text")
    check(text, "no text", 422)
    note(request, text=text)
    refusal = await refusals(request)
    if refusal is not None:
        return refusal
    event = uuid.uuid4().hex
    CALLS[event] = scenario(request)
    return web.json_response({"event_id": event})


async def gradio_events(request):
    name = CALLS.pop(request.match_info["event"])
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    file = {"path": "/tmp/gradio/out/audio file.wav", "url": "http://198.51.100.1/elsewhere.wav", "meta": {"_type": "gradio.FileData"}}
    value = file if request.match_info["page"] == "f5" else {"value": file, "visible": True, "__type__": "update"}
    end = "event: error\ndata: null\n\n" if name == "error" else f"event: complete\ndata: {json.dumps([value, None])}\n\n"
    if name == "halfevent":
        end = "event: complete\ndata: [{"
    if name == "longline":
        end = "event: complete\ndata: [" + "1," * 200_000
    for piece in pieces(("event: heartbeat\ndata: null\n\n" + end).encode(), 9 if len(end) < 9000 else 9000):
        await response.write(piece)
    await response.write_eof()
    return response


async def gradio_file(request):
    check(request.match_info["path"] == "/tmp/gradio/out/audio file.wav", "another file", 404)
    return await stream(request, wav(24000 if request.match_info["page"] == "f5" else 22050), "audio/x-wav")


# Tencent


async def tencent(request):
    body = await body_json(
        request,
        "Action AppId SecretId Timestamp Expired SessionId Text VoiceType Codec SampleRate".split(),
        "Action AppId SecretId Timestamp Expired SessionId Text Codec SampleRate".split(),
    )
    check(body["Action"] == "TextToStreamAudio" and isinstance(body["AppId"], int), "action")
    check(body["Codec"] == "pcm" and body["SampleRate"] == 16000, "codec")
    signed = f"POST{request.host}{request.path}?" + "&".join(f"{key}={body[key]}" for key in sorted(body))
    signature = base64.b64encode(hmac.new(b"test-key", signed.encode(), hashlib.sha1).digest()).decode()
    good = request.headers.get("Authorization") == signature and abs(body["Timestamp"] - time.time()) < 60 < body["Expired"] - time.time()
    note(request, text=body["Text"], voice=body["VoiceType"])
    if not good or scenario(request) == "error":
        error = {"Response": {"Error": {"Code": "AuthFailure.SignatureFailure", "Message": "no"}, "RequestId": "1"}}
        return web.Response(body=json.dumps(error).encode(), headers={"Content-Type": "application/octet-stream"})
    return await stream(request, sweep(16000), "application/octet-stream")


# WebSockets


async def socket(request):
    """Upgrades; the scenarios that end before the first message have ended then."""
    name = scenario(request)
    ws = web.WebSocketResponse(max_msg_size=1 << 20)
    await ws.prepare(request)
    OPEN.add(id(ws))
    return ws


async def say(request, ws, messages, end, garbage):
    """Sends `messages` and `end`, which goes wrong as the scenario says."""
    name = scenario(request)
    send = lambda message: ws.send_bytes(message) if isinstance(message, bytes) else ws.send_str(message)
    if name == "slow":
        await ws.receive()
        return
    if name == "garbage":
        return await send(garbage)
    if name == "empty":
        return await send(end)
    if name == "huge":
        return await ws.send_bytes(bytes(2 << 20))
    if name == "utf8":
        return await ws._writer.send_frame(b"\xff\xfe{", WSMsgType.TEXT)
    if name == "endless":
        while not ws.closed:
            for message in messages:
                await send(message)
        return
    if name in ("stall", "cut"):
        messages = messages[: len(messages) // 2]
    for message in messages:
        await send(message)
    if name == "stall":
        await ws.receive()
        return
    if name == "cut":
        request.transport.abort()
        return
    await send(end)


def json_message(message):
    check(message.type == WSMsgType.TEXT, "no text")
    return json.loads(message.data)


def socket_handler(talk, authorize):
    async def handler(request):
        authorize(request)
        refusal = await refusals(request)
        if refusal is not None:
            note(request)
            return refusal
        try:
            ws = await socket(request)
        except ConnectionError:
            # The client hung up, which is its right.
            return web.Response()
        try:
            await talk(request, ws)
            await ws.close()
        except (ConnectionError, AssertionError):
            pass
        except (Wrong, KeyError, ValueError, TypeError, ET.ParseError) as error:
            LOG.append({"wrong": repr(error), "path": request.path})
            await ws.close(code=1002)
        finally:
            OPEN.discard(id(ws))
        return ws

    return handler


EPOCH = 11644473600
EDGE_TOKEN = "6A5AA1D4EAFF4E9FB37E23D68491D6F4"


def edge_authorize(request):
    now = time.time() + (7200 if scenario(request) == "skew" else 0)
    tokens = [
        hashlib.sha256(f"{(int(t) + EPOCH) // 300 * 300 * 10**7}{EDGE_TOKEN}".encode()).hexdigest().upper() for t in (now, now - 20)
    ]
    query, headers = request.query, request.headers
    date = email.utils.formatdate(now, usegmt=True)
    if query.get("Sec-MS-GEC") not in tokens:
        note(request, side=True)
        raise web.HTTPForbidden(headers={"Date": date})
    check(query["TrustedClientToken"] == EDGE_TOKEN and query["Sec-MS-GEC-Version"].startswith("1-"), "token", 403)
    check(len(query["ConnectionId"]) == 32 and int(query["ConnectionId"], 16), "connection id")
    check(headers["Origin"] == "chrome-extension://jdiccldimpdaibmpdkjnbmckianbfold" and "Edg/" in headers["User-Agent"], "headers", 403)
    cookie = headers["Cookie"]
    check(cookie.startswith("muid=") and len(cookie.strip(";")) == 37 and cookie == cookie.replace(cookie[5:], cookie[5:].upper()), "muid", 403)


def edge_frame(message):
    check(message.type == WSMsgType.TEXT, "no text")
    head, body = message.data.split("\r\n\r\n", 1)
    return dict(line.split(":", 1) for line in head.split("\r\n")), body


def javascript_date(text):
    then = datetime.datetime.strptime(text, "%a %b %d %Y %H:%M:%S GMT+0000 (Coordinated Universal Time)")
    check(abs(then.replace(tzinfo=datetime.timezone.utc).timestamp() - time.time()) < 60, "timestamp")


async def edge(request, ws):
    head, body = edge_frame(await ws.receive())
    check(head["Path"] == "speech.config" and head["Content-Type"] == "application/json; charset=utf-8", "no speech.config")
    javascript_date(head["X-Timestamp"])
    check(body.endswith("\r\n"), "the end of the configuration")
    audio = json.loads(body)["context"]["synthesis"]["audio"]
    check(audio["outputFormat"] == "audio-24khz-48kbitrate-mono-mp3", "format")
    check(audio["metadataoptions"] == {"sentenceBoundaryEnabled": "false", "wordBoundaryEnabled": "true"}, "boundaries")
    head, body = edge_frame(await ws.receive())
    check(head["Path"] == "ssml" and head["Content-Type"] == "application/ssml+xml" and len(head["X-RequestId"]) == 32, "no ssml")
    check(head["X-Timestamp"].endswith("Z"), "the Z")
    javascript_date(head["X-Timestamp"][:-1])
    voice, prosody = speech_markup(body)
    check(voice.startswith("Microsoft Server Speech Text to Speech Voice (") and len(body.encode()) < 8192, "voice")
    check(prosody.get("pitch") == "+0Hz" and prosody.get("volume") == "+0%" and prosody.get("rate")[0] in "+-", "prosody")
    note(request, text=prosody.text, voice=voice, rate=prosody.get("rate"))
    id_ = head["X-RequestId"]
    text = lambda path, body: f"X-RequestId:{id_}\r\nContent-Type:application/json; charset=utf-8\r\nPath:{path}\r\n\r\n{json.dumps(body)}"

    def sound(data, kind="Content-Type:audio/mpeg\r\n"):
        head = f"X-RequestId:{id_}\r\n{kind}X-StreamId:1\r\nPath:audio\r\n".encode()
        return struct.pack(">H", len(head)) + head + data

    words = [w.strip(".,!?，。()\"") for w in prosody.text.split()]
    step = SECONDS / max(1, len(words))
    boundaries = [
        text("audio.metadata", {"Metadata": [{"Type": "WordBoundary", "Data": {
            "Offset": int((0.1 + n * step) * 1e7), "Duration": int(step * 0.9 * 1e7),
            "text": {"Text": word.replace("&", "&amp;"), "Length": len(word), "BoundaryType": "WordBoundary"}}}]})
        for n, word in enumerate(words)
    ]
    if scenario(request) == "tones":
        started = [text("turn.start", {"context": {"serviceTag": "x"}}), text("response", {})]
        for message in started + ([] if "坏" in prosody.text else [sound(piece) for piece in pieces(tones(prosody.text))]):
            await (ws.send_bytes if isinstance(message, bytes) else ws.send_str)(message)
        if "慢" in prosody.text:
            return await ws.receive()
        return await ws.send_str(text("turn.end", {}))
    frames = [sound(piece) for piece in pieces(mp3(24000, 0.1, 0.9))]
    half = len(frames) // 2
    first = len(boundaries) // 2 + 1
    messages = [text("turn.start", {"context": {"serviceTag": "x"}}), text("response", {}), *boundaries[:first], *frames[:half]]
    messages += [*boundaries[first:], *frames[half:], sound(b"", "")]
    if scenario(request) == "untimed":
        messages = frames
    await say(request, ws, messages, text("turn.end", {}), sound(b"\1\2\3", ""))


async def qwen(request, ws):
    check(request.query["model"] == "qwen3-tts-flash-realtime", "model")
    await ws.send_str(json.dumps({"type": "session.created", "session": {}}))
    said = ""
    for kind in ("session.update", "input_text_buffer.append", "input_text_buffer.commit"):
        message = json_message(await ws.receive())
        check(message["type"] == kind and message["event_id"], f"no {kind}")
        if kind == "session.update":
            session = message["session"]
            check(session["voice"] and session["mode"] == "commit" and session["response_format"] == "pcm" and session["sample_rate"] == 24000, "session")
            await ws.send_str(json.dumps({"type": "session.updated", "session": session}))
        said += message.get("text", "")
    note(request, text=said, voice=session["voice"])
    if scenario(request) == "error":
        return await ws.send_str(json.dumps({"type": "error", "error": {"code": "invalid_value", "message": "no"}}))
    deltas = [json.dumps({"type": "response.audio.delta", "delta": base64.b64encode(p).decode()}) for p in pieces(sweep(24000))]
    begin = [json.dumps({"type": kind}) for kind in ("input_text_buffer.committed", "response.created", "response.output_item.added")]
    done = json.dumps({"type": "response.done", "response": {"status": "completed"}})
    await say(request, ws, begin + deltas + [json.dumps({"type": "response.audio.done"})], done, "{no json")
    if scenario(request) == "ok":
        check(json_message(await ws.receive())["type"] == "session.finish", "no session.finish")


async def cosyvoice_task(request, ws):
    run = json_message(await ws.receive())
    check(run["header"]["action"] == "run-task" and run["header"]["streaming"] == "duplex", "no run-task")
    task, payload = run["header"]["task_id"], run["payload"]
    check([payload[key] for key in ("task_group", "task", "function")] == ["audio", "tts", "SpeechSynthesizer"], "task")
    check(payload["input"] == {} and payload["model"].startswith("cosyvoice"), "input")
    parameters = payload["parameters"]
    check(parameters["text_type"] == "PlainText" and parameters["format"] == "pcm" and parameters["sample_rate"] == 16000, "parameters")
    event = lambda name, **header: json.dumps({"header": {"task_id": task, "event": name, "attributes": {}, **header}, "payload": {}})
    if scenario(request) == "error":
        return await ws.send_str(event("task-failed", error_code="InvalidParameter", error_message="no"))
    await asyncio.sleep(0.05)
    await ws.send_str(event("task-started"))
    said = json_message(await ws.receive())
    check(said["header"]["action"] == "continue-task" and said["header"]["task_id"] == task, "no continue-task")
    finish = json_message(await ws.receive())
    check(finish["header"]["action"] == "finish-task" and finish["payload"] == {"input": {}}, "no finish-task")
    note(request, text=said["payload"]["input"]["text"], voice=parameters["voice"])
    messages = []
    for piece in pieces(sweep(16000)):
        messages += [event("result-generated"), piece]
    await say(request, ws, messages, event("task-finished"), "{no json")


async def doubao(request, ws):
    message = (await ws.receive()).data
    check(isinstance(message, bytes) and message[:4] == b"\x11\x10\x11\x00", "header")
    check(struct.unpack(">I", message[4:8])[0] == len(message) - 8, "size")
    body = json.loads(gzip.decompress(message[8:]))
    check(body["app"] == {"appid": "42", "token": "test-key", "cluster": "volcano_tts"} and body["user"]["uid"], "app")
    check(body["audio"]["encoding"] == "pcm" and body["audio"]["rate"] == 16000 and body["audio"]["voice_type"], "audio")
    check(body["request"]["operation"] == "submit" and body["request"]["reqid"], "request")
    note(request, text=body["request"]["text"], voice=body["audio"]["voice_type"])
    if scenario(request) == "error":
        text = gzip.compress(b'{"reqid":"1","code":3001}')
        return await ws.send_bytes(b"\x11\xf0\x11\x00" + struct.pack(">II", 3001, len(text)) + text)
    sound = lambda sequence, data: b"\x11\xb1\x00\x00" + struct.pack(">iI", sequence, len(data)) + data
    parts = list(pieces(sweep(16000)))
    messages = [b"\x11\xb0\x00\x00"] + [sound(n + 1, piece) for n, piece in enumerate(parts[:-1])]
    last = b"" if scenario(request) == "empty" else parts[-1]
    await say(request, ws, messages, sound(-len(parts), last), b"\x11\xb1\x00\x00\x00\x00")


def dashscope_authorize(request):
    bearer(request)


def doubao_authorize(request):
    check(request.headers.get("Authorization") == "Bearer; test-key", "authorization", 401)


# The server


@web.middleware
async def wrong(request, handler):
    try:
        return await handler(request)
    except (Wrong, KeyError, ValueError, TypeError, ET.ParseError, wave.Error) as error:
        status = getattr(error, "status", 400)
        LOG.append({"wrong": repr(error), "path": request.path})
        return refuse(status, "invalid_request")


async def leak(request):
    LOG.append({"leak": dict(request.headers)})
    return web.Response(text="")


async def log(request):
    return web.json_response(LOG)


async def open_answers(request):
    return web.json_response(len(OPEN))


async def main():
    # Made before anybody waits for it.
    mp3(24000), mp3(24000, 0.1, 0.9)
    app = web.Application(middlewares=[wrong], client_max_size=20 << 20)
    at = lambda path: "/{scenario}" + path
    app.add_routes(
        [
            web.get("/log", log),
            web.get("/open", open_answers),
            web.route("*", "/leak/here", leak),
            web.post(at("/v1/audio/speech"), openai),
            web.post(at("/cognitiveservices/v1"), azure),
            web.post(at("/sovits/tts"), gpt_sovits),
            web.post(at("/{kind:inference_[a-z_]+}"), cosyvoice),
            web.post(at("/v1/tts"), fish),
            web.post(at("/clone_speaker"), clone_speaker),
            web.post(at("/tts_stream"), tts_stream),
            web.get(at("/{page:f5}/gradio_api/info"), gradio_info),
            web.post(at("/{page:f5}/gradio_api/upload"), gradio_upload),
            web.post(at("/{page:f5}/gradio_api/call/{function}"), gradio_call),
            web.get(at("/{page:f5}/gradio_api/call/{function}/{event}"), gradio_events),
            web.get(at("/{page:f5}/gradio_api/file={path:.*}"), gradio_file),
            # Version 4 of Gradio, without the prefix.
            web.get(at("/{page:indextts2}/info"), gradio_info),
            web.post(at("/{page:indextts2}/upload"), gradio_upload),
            web.post(at("/{page:indextts2}/call/{function}"), gradio_call),
            web.get(at("/{page:indextts2}/call/{function}/{event}"), gradio_events),
            web.get(at("/{page:indextts2}/file={path:.*}"), gradio_file),
            web.post(at("/stream"), tencent),
            web.get(at("/edge"), socket_handler(edge, edge_authorize)),
            web.get(at("/api-ws/v1/realtime"), socket_handler(qwen, dashscope_authorize)),
            web.get(at("/api-ws/v1/inference"), socket_handler(cosyvoice_task, dashscope_authorize)),
            web.get(at("/ws_binary"), socket_handler(doubao, doubao_authorize)),
        ]
    )
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(site._server.sockets[0].getsockname()[1], flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    await reader.read()


if __name__ == "__main__":
    asyncio.run(main())
