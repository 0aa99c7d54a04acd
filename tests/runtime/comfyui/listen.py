"""Run by ComfyUI's Python, which has aiohttp: prints what ComfyUI tells a client, a line of JSON for each message.

python listen.py ADDRESS CLIENT
"""

import asyncio
import json
import sys

import aiohttp


async def listen(address: str, client: str) -> None:
    async with aiohttp.ClientSession() as session, session.ws_connect(f"{address}/ws?clientId={client}") as socket:
        flags = {"supports_preview_metadata": True}  # as the page says it, to be sent previews
        await socket.send_json({"type": "feature_flags", "data": flags})
        async for message in socket:
            if message.type == aiohttp.WSMsgType.BINARY:
                print(json.dumps({"type": "preview", "data": message.data.hex()}), flush=True)
            elif message.type == aiohttp.WSMsgType.TEXT:
                print(message.data, flush=True)


asyncio.run(listen(*sys.argv[1:]))
