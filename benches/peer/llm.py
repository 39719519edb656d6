#!/usr/bin/env python3
"""Stands in for a language model behind OpenAI's protocol: the first token after a delay, then one every 20 ms.

    benches/peer/llm.py --port PORT [--first MS]
"""

import argparse
import asyncio
import json

from aiohttp import web

ANSWER = (
    "It is a fine day, with a light wind from the sea. In the afternoon there may be a few clouds over the hills, "
    "but they bring no rain. Towards the evening the sky clears again, so that the stars can be seen from the harbour. "
    "Tomorrow will be warmer, and the wind turns to the south. If you go for a walk, take the path along the river."
)
TOKEN_S = 0.02


async def complete(request):
    body = await request.json()
    if not body.get("stream") or body["messages"][-1]["role"] != "user":
        return web.json_response({"error": {"message": "a streamed answer to a user's message, please"}}, status=400)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    await asyncio.sleep(request.app["first"])
    for word in ANSWER.split(" "):
        delta = {"id": "1", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": word + " "}}]}
        await response.write(f"data: {json.dumps(delta)}\n\n".encode())
        await asyncio.sleep(TOKEN_S)
    await response.write(b"data: [DONE]\n\n")
    return response


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--first", type=int, default=200, help="milliseconds to the first token")
    args = parser.parse_args()
    app = web.Application()
    app["first"] = args.first / 1e3
    app.router.add_post("/v1/chat/completions", complete)
    web.run_app(app, host="127.0.0.1", port=args.port, print=None)


if __name__ == "__main__":
    main()
