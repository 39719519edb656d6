"""A WHIP server that follows RFC 9725 to the letter and refuses what does not; aiortc takes the media.

usage: whip_server.py PORT TOKEN STUN
  POST   /whip/NAME        an offer; /moved/NAME sends it on with 307, /wrong/NAME with 301, /busy/NAME says 503 twice
  PATCH  /resource/ID      candidates
  DELETE /resource/ID      the end
  GET    /status           what came, as JSON
"""

import asyncio
import json
import re
import sys
import time
import uuid

import numpy as np
from aiohttp import web
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

TOKEN, STUN = sys.argv[2], sys.argv[3]
resources, refused, patched = {}, [], []
busy = {"left": 2}


def refuse(status, why, **headers):
    refused.append({"status": status, "why": why, "at": time.monotonic()})
    return web.Response(status=status, text=why, headers=headers)


def faults(sdp):
    """What RFC 9725 §4.2 and §4.4.2 do not allow."""
    sections = re.split(r"\r\n(?=m=)", sdp)
    kinds = [section.split(" ")[0][2:] for section in sections[1:]]
    if sorted(kinds) != ["audio", "video"]:
        return f"one audio and one video line, not {kinds}"
    if "a=group:BUNDLE" not in sections[0]:
        return "no bundle"
    for section in sections[1:]:
        for line in ["a=sendonly", "a=rtcp-mux", "a=setup:actpass", "a=ice-ufrag:", "a=ice-pwd:", "a=mid:"]:
            if line not in section:
                return f"no {line} in {section[:20]}"
        if section.startswith("m=video 9") and "H264/90000" not in section:
            return "no H.264"
    return None if "a=candidate:" in sdp else "no candidate"


def authorized(request):
    return request.headers.get("Authorization") == f"Bearer {TOKEN}"


async def post(request):
    if not authorized(request):
        return refuse(401, "who are you?", **{"WWW-Authenticate": "Bearer"})
    if request.headers.get("Content-Type") != "application/sdp":
        return refuse(415, "application/sdp")
    offer = await request.text()
    fault = faults(offer)
    if fault:
        return refuse(400, fault)
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    resource = {"name": request.match_info["name"], "query": request.query_string, "pc": pc, "frames": [], "loudest": 0.0,
                "size": None, "deleted": False, "state": "new"}

    async def consume(track):
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            if track.kind == "video":
                resource["frames"].append(time.monotonic())
                resource["size"] = [frame.width, frame.height]
            else:
                level = float(np.sqrt(((frame.to_ndarray() / 32768.0) ** 2).mean()))
                resource["loudest"] = max(resource["loudest"], level)

    pc.on("track", lambda track: asyncio.ensure_future(consume(track)))
    pc.on("connectionstatechange", lambda: resource.update(state=pc.connectionState))
    await pc.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await pc.setLocalDescription(await pc.createAnswer())
    name = uuid.uuid4().hex
    resources[name] = resource
    headers = {"Location": f"../resource/{name}", "ETag": f'"{name}"', "Link": f'<{STUN}>; rel="ice-server"'}
    return web.Response(status=201, text=pc.localDescription.sdp, content_type="application/sdp", headers=headers)


async def patch(request):
    resource = resources.get(request.match_info["id"])
    if not authorized(request) or resource is None:
        return refuse(401 if resource else 404, "patch")
    body = await request.text()
    wanted = ["a=ice-ufrag:", "a=ice-pwd:", "a=mid:0", "a=candidate:", "typ srflx"]
    if request.headers.get("Content-Type") != "application/trickle-ice-sdpfrag" or any(part not in body for part in wanted):
        return refuse(400, "no fragment")
    patched.append(body)
    return web.Response(status=204)


async def delete(request):
    resource = resources.get(request.match_info["id"])
    if not authorized(request) or resource is None or resource["deleted"]:
        return refuse(401 if resource else 404, "delete")
    resource["deleted"] = True
    await resource["pc"].close()
    return web.Response(status=200)


async def moved(request):
    raise web.HTTPTemporaryRedirect(f"/whip/{request.match_info['name']}")


async def wrong(request):
    raise web.HTTPMovedPermanently(f"/whip/{request.match_info['name']}")


async def unwilling(request):
    if busy["left"] > 0:
        busy["left"] -= 1
        return refuse(503, "later", **{"Retry-After": "2"})
    return await post(request)


async def status(_):
    def told(resource):
        frames = resource["frames"]
        recent = [at for at in frames if at > time.monotonic() - 2]
        keys = ["name", "query", "deleted", "state", "size", "loudest"]
        return {**{key: resource[key] for key in keys}, "frames": len(frames), "fps": len(recent) / 2}

    return web.json_response({"resources": [told(r) for r in resources.values()], "refused": refused, "patched": patched})


async def close(_):
    await asyncio.gather(*(resource["pc"].close() for resource in resources.values()))


app = web.Application()
app.add_routes([web.post("/whip/{name}", post), web.post("/moved/{name}", moved), web.post("/wrong/{name}", wrong),
                web.post("/busy/{name}", unwilling), web.patch("/resource/{id}", patch), web.delete("/resource/{id}", delete),
                web.get("/status", status)])
app.on_shutdown.append(close)
web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
