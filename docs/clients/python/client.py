"""A peer in Python: it hosts a session, or joins one, and talks to the others over WebRTC data channels.

    pip install -r requirements.txt
    export P2P_TOKEN=...                              # an access token of the player
    python client.py http://localhost:8001 alice host --zone prontera --invite bob
    python client.py http://localhost:8001 bob join session-0123456789abcdef "hello"

Prints one line of JSON for each thing that happens. The host sends back what it gets; who joins ends with the first answer.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import sys
import urllib.error
import urllib.parse
import urllib.request

import websockets
from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import candidate_from_sdp
from websockets.asyncio.client import connect

TIMEOUT = 10  # seconds, for one request or one opening
ATTEMPTS = 10  # in a row; then the game server is to serve
HEARTBEAT = 45  # seconds
REFUSED, TAKEN_OVER = 1008, 4500


class UseGameServer(Exception):
    """Peer-to-peer cannot serve: play on the game server. The text is the reason."""


class Refused(Exception):
    """The service does not do it. `status` is the HTTP status."""

    def __init__(self, status, text):
        super().__init__(text)
        self.status = status


def say(event, **members):
    print(json.dumps({"event": event, **members}), flush=True)


def back_off(attempt):
    """Seconds: doubled each time, up to 15, of which a part by chance."""
    most = min(15.0, 0.5 * 2**attempt)
    return random.uniform(most / 2, most)


class Api:
    """The HTTP side."""

    def __init__(self, address, token):
        self.address, self.token = address, token

    async def post(self, path, body=None):
        for attempt in range(4):
            try:
                return await asyncio.to_thread(self._post, path, body)
            except urllib.error.HTTPError as error:
                problem = json.load(error)
                if problem.get("mode") == "server":
                    raise UseGameServer(problem["reason"]) from None
                if error.code not in (429, 503) or attempt == 3:
                    raise Refused(error.code, f"{path}: {error.code} {problem['detail']}") from None
                # Too fast, or a part of the service is away: it says for how long.
                await asyncio.sleep(float(error.headers.get("Retry-After", 1)) + back_off(0))
            except OSError:
                if attempt == 3:
                    raise
                await asyncio.sleep(back_off(attempt))

    def _post(self, path, body):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.address}/api/v1{path}", data, headers, method="POST")
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:
            return json.load(answer)


class Peer:
    """This player in one session: the signaling, and a data channel to each other peer."""

    def __init__(self, address, peer_id, token, on_open, on_message):
        self.address, self.peer_id, self.token = address.replace("http", "ws", 1), peer_id, token
        self.on_open, self.on_message = on_open, on_message
        self.links, self.socket, self.resume_token = {}, None, None

    async def stay(self, session_id):
        """Stays in the session, over broken connections and restarts of the service, until it is over."""
        failures = refusals = 0
        while True:
            told = None
            try:
                async with self.open() as self.socket:
                    if self.resume_token is None:
                        await self.send(type="join", session_id=session_id)
                    async for text in self.socket:
                        message = json.loads(text)
                        match message["type"]:
                            case "session-joined":
                                failures = refusals = 0
                            case "server-draining":
                                told = message["reconnect_after_ms"] / 1000
                            case "session-ended" | "session-left":
                                return message.get("reason", "removed")
                            case "fallback":
                                raise UseGameServer(message["reason"])
                        await self.hear(message, session_id)
                code = self.socket.close_code
            except websockets.ConnectionClosed as closed:
                code = closed.rcvd.code if closed.rcvd else None
            except (OSError, TimeoutError, websockets.InvalidHandshake):
                code = None
            if code is not None and TAKEN_OVER <= code < 5000:
                return "another connection of this peer took over"
            refusals += code == REFUSED
            if refusals > 1:
                raise UseGameServer("refused")
            if failures == ATTEMPTS:
                raise UseGameServer("unreachable")
            delay = back_off(failures) if told is None else told
            failures += 1
            say("reconnecting", delay=delay)
            await asyncio.sleep(delay)

    def open(self):
        query = {"peer_id": self.peer_id, "resumable": "true"}
        if self.resume_token:
            query["resume_token"] = self.resume_token
        url = f"{self.address}/api/v1/signaling/ws?{urllib.parse.urlencode(query)}"
        return connect(url, additional_headers={"Authorization": f"Bearer {self.token}"}, open_timeout=TIMEOUT)

    async def send(self, **message):
        await self.socket.send(json.dumps(message))

    async def hear(self, message, session_id):
        match message:
            case {"type": "session-joined"}:
                self.resume_token = message["resume_token"]
                say("joined", resumed=bool(message.get("resumed")), peers=message["peers"])
                # A place that was kept keeps its links. Who comes anew calls everybody who is there; they wait for the call.
                if not message.get("resumed"):
                    for peer in [*self.links]:
                        await self.drop(peer)
                    for peer in message["peers"]:
                        await self.call(peer)
            case {"type": "peer-joined" | "peer-left", "peer_id": peer}:
                say(message["type"], peer=peer)
                await self.drop(peer)
            case {"type": "offer", "from": peer, "sdp": sdp}:
                link = self.links.get(peer) or self.link(peer)
                await link.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
                await link.setLocalDescription(await link.createAnswer())
                await self.send(type="answer", to=peer, sdp=link.localDescription.sdp)
            case {"type": "answer", "from": peer, "sdp": sdp} if peer in self.links:
                await self.links[peer].setRemoteDescription(RTCSessionDescription(sdp, "answer"))
            case {"type": "ice-candidate", "from": peer, "candidate": dict(given)} if peer in self.links:
                if line := given.get("candidate"):
                    candidate = candidate_from_sdp(line.removeprefix("candidate:"))
                    candidate.sdpMid, candidate.sdpMLineIndex = given.get("sdpMid"), given.get("sdpMLineIndex")
                    await self.links[peer].addIceCandidate(candidate)
            case {"type": "error", "code": "resume_expired"}:
                self.resume_token = None
                await self.send(type="join", session_id=session_id)
            case {"type": "host-changed" | "error"}:
                say(message.pop("type"), **message)

    def link(self, peer):
        link = self.links[peer] = RTCPeerConnection()
        link.on("datachannel", lambda channel: self.use(peer, channel))
        return link

    async def call(self, peer):
        link = self.link(peer)
        self.use(peer, link.createDataChannel("game"))
        # aiortc gathers its candidates first: they are in the offer, and none follow.
        await link.setLocalDescription(await link.createOffer())
        await self.send(type="offer", to=peer, sdp=link.localDescription.sdp)

    def use(self, peer, channel):
        channel.on("message", lambda data: self.on_message(peer, channel, data))
        channel.on("open", lambda: self.on_open(peer, channel))
        if channel.readyState == "open":
            self.on_open(peer, channel)

    async def drop(self, peer):
        if link := self.links.pop(peer, None):
            await link.close()

    async def leave(self):
        """For good: the others hear of it at once."""
        with contextlib.suppress(websockets.ConnectionClosed, AttributeError):
            await self.send(type="leave")
            await self.socket.close()
        for peer in [*self.links]:
            await self.drop(peer)


async def host(arguments, token):
    api = Api(arguments.coordinator, token)
    host_id = f"host-{arguments.player}"
    registration = {
        "host_id": host_id, "player_id": arguments.player, "player_name": arguments.player, "ip_address": arguments.ip,
        "port": 7777, "cpu_cores": os.cpu_count() or 1, "cpu_frequency_mhz": 3000, "memory_mb": 8192,
        "network_speed_mbps": 100,
    }
    await api.post("/hosts/register", registration)
    wanted = {"zone_id": arguments.zone, "host_id": host_id, "player_ids": arguments.invite}
    session = (await api.post("/sessions", wanted))["session_id"]
    await api.post(f"/sessions/{session}/activate")
    say("session", session_id=session)

    async def beat():
        while True:
            # What a game measures; 0 is not measured.
            load = {
                "latency_ms": 0, "packet_loss_percent": 0, "bandwidth_usage_mbps": 0,
                "current_players": len(peer.links), "current_zones": 1,
            }
            try:
                await api.post(f"/hosts/{host_id}/heartbeat", load)
            except Refused as refused:
                if refused.status != 404:
                    raise
                await api.post("/hosts/register", registration)
            except OSError:
                say("heartbeat-lost")
            await asyncio.sleep(HEARTBEAT * random.uniform(0.8, 1.2))

    def echo(other, channel, data):
        say("message", peer=other, text=str(data))
        channel.send(data)

    peer = Peer(arguments.coordinator, arguments.player, token, lambda other, _: say("open", peer=other), echo)
    async with asyncio.TaskGroup() as group:
        beating = group.create_task(beat())
        say("over", reason=await peer.stay(session))
        beating.cancel()
    await peer.leave()


async def join(arguments, token):
    answer = asyncio.get_running_loop().create_future()

    def opened(other, channel):
        say("open", peer=other)
        channel.send(arguments.text)

    def heard(other, _, data):
        say("message", peer=other, text=str(data))
        if not answer.done():
            answer.set_result(data)

    peer = Peer(arguments.coordinator, arguments.player, token, opened, heard)
    staying = asyncio.create_task(peer.stay(arguments.session))
    await asyncio.wait([staying, answer], return_when=asyncio.FIRST_COMPLETED)
    if staying.done():
        say("over", reason=staying.result())
    staying.cancel()
    await peer.leave()


def main():
    parser = argparse.ArgumentParser(description="A peer of the P2P coordinator.")
    parser.add_argument("coordinator", help="address of the service")
    parser.add_argument("player", help="the player_id of the token in P2P_TOKEN")
    roles = parser.add_subparsers(required=True)
    role = roles.add_parser("host", help="register as a host, open a session, answer who comes")
    role.add_argument("--zone", required=True)
    role.add_argument("--invite", action="append", default=[], help="a player_id of the session; may be repeated")
    role.add_argument("--ip", default="127.0.0.1", help="where the game reaches this host")
    role.set_defaults(run=host)
    role = roles.add_parser("join", help="join a session, send a text to each peer")
    role.add_argument("session")
    role.add_argument("text")
    role.set_defaults(run=join)
    arguments = parser.parse_args()
    try:
        asyncio.run(arguments.run(arguments, os.environ["P2P_TOKEN"]))
    except* (UseGameServer, OSError) as reasons:
        say("fallback", reason=str(reasons.exceptions[0]))
        sys.exit(3)
    except* Refused as refused:
        sys.exit(str(refused.exceptions[0]))


if __name__ == "__main__":
    main()
