// A peer in a browser: signaling with resuming and back-off, and one WebRTC data channel to each other peer of the session.
// Knows nothing of the game. Events: state, peer-open, peer-message, peer-left, host-changed, session-ended, fallback.

const FIRST_DELAY_MS = 500;
const LONGEST_DELAY_MS = 15_000;
// So many openings in a row may fail; then the game server is to serve.
const ATTEMPTS = 10;
const REFUSED = 1008;
const TAKEN_OVER = 4500;
// Messages that wait for the place in the session to come back.
const MOST_WAITING = 256;

/** A wait that doubles, of which each client takes a part by chance: thousands must not come back at the same moment. */
export function backOff(attempt, chance = Math.random) {
  const most = Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** attempt);
  return most / 2 + chance() * most / 2;
}

/** One player's device in one session. */
export class P2PClient extends EventTarget {
  #options; #socket = null; #timer = null; #session = null; #resumeToken = null;
  #failures = 0; #refusals = 0; #told = null; #over = false;
  #placed = false; #waiting = [];
  #links = new Map();

  /**
   * @param {object} options
   * @param {string} options.coordinator  address of the service, such as `https://p2p.example.com`
   * @param {string} options.peerId       the `player_id`, or that with `:` and a device name
   * @param {() => Promise<string>} options.token  gives an access token that is good now; asked before each connection
   * @param {RTCIceServer[]} [options.iceServers]  STUN and TURN servers of the game
   */
  constructor(options) {
    super();
    this.#options = options;
  }

  /** The peers that a data channel is open to. */
  get peers() {
    return [...this.#links].filter(([, link]) => link.channel?.readyState === "open").map(([id]) => id);
  }

  /** Joins a session and stays in it, over broken connections and restarts of the service. */
  join(sessionId) {
    this.#session = sessionId;
    this.#connect();
  }

  /** Leaves for good: the others see `peer-left` at once. */
  leave() {
    this.#write({ type: "leave" });
    this.#stop("left");
  }

  /** Sends a string or bytes to a peer. False when no channel is open to it. */
  send(peerId, data) {
    const channel = this.#links.get(peerId)?.channel;
    if (channel?.readyState !== "open") return false;
    channel.send(data);
    return true;
  }

  async #connect() {
    let token;
    try {
      token = await this.#options.token();
    } catch {
      return this.#again();
    }
    if (this.#over) return;
    const url = new URL("/api/v1/signaling/ws", this.#options.coordinator);
    url.protocol = url.protocol.replace("http", "ws");
    url.searchParams.set("peer_id", this.#options.peerId);
    url.searchParams.set("resumable", "true");
    if (this.#resumeToken) url.searchParams.set("resume_token", this.#resumeToken);
    // As a protocol the token is in no address, so in no log of a proxy.
    const socket = new WebSocket(url, ["p2p-coordinator", token]);
    this.#socket = socket;
    this.#told = null;
    socket.onopen = () => { if (!this.#resumeToken) this.#rejoin(); };
    socket.onmessage = ({ data }) => this.#hear(JSON.parse(data));
    socket.onclose = ({ code }) => { if (this.#socket === socket) this.#closed(code); };
  }

  #rejoin() {
    this.#write({ type: "join", session_id: this.#session });
  }

  #signal(message) {
    if (this.#placed) this.#write(message);
    else if (this.#waiting.length < MOST_WAITING) this.#waiting.push(message);
  }

  #write(message) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #closed(code) {
    this.#socket = null;
    this.#placed = false;
    if (this.#over) return;
    // Another tab or device of the same name has the place now.
    if (code >= TAKEN_OVER && code < 5000) return this.#stop("taken-over");
    // One refusal may be a token that ran out on the way; a second one is meant.
    if (code === REFUSED && (this.#refusals += 1) > 1) return this.#giveUp("refused");
    this.#again();
  }

  #again() {
    if (this.#over) return;
    if (this.#failures >= ATTEMPTS) return this.#giveUp("unreachable");
    const delay = this.#told ?? backOff(this.#failures);
    this.#failures += 1;
    this.#emit("state", { state: "reconnecting", delay });
    this.#timer = setTimeout(() => this.#connect(), delay);
  }

  #hear(message) {
    switch (message.type) {
      case "session-joined": return this.#joined(message);
      case "peer-joined": return this.#drop(message.peer_id);
      case "peer-left":
        this.#drop(message.peer_id);
        return this.#emit("peer-left", { peer: message.peer_id });
      case "offer": return this.#offered(message);
      case "answer": return this.#links.get(message.from)?.remote({ type: "answer", sdp: message.sdp });
      case "ice-candidate": return this.#links.get(message.from)?.candidate(message.candidate);
      case "server-draining": this.#told = message.reconnect_after_ms; return;
      case "host-changed": return this.#emit("host-changed", { peer: message.peer_id, reason: message.reason });
      case "session-ended":
        this.#emit("session-ended", { reason: message.reason });
        return this.#stop("ended");
      case "session-left": return this.#stop("removed");
      case "fallback": return this.#giveUp(message.reason);
      case "error": return this.#failed(message);
    }
  }

  #joined(message) {
    this.#resumeToken = message.resume_token;
    this.#failures = this.#refusals = 0;
    this.#placed = true;
    const waiting = this.#waiting.splice(0);
    this.#emit("state", { state: message.resumed ? "resumed" : "joined" });
    // A place that was kept keeps its links. Who comes anew calls everybody who is there; they wait for the call.
    if (message.resumed) return waiting.forEach((old) => this.#write(old));
    for (const peer of [...this.#links.keys()]) this.#drop(peer);
    for (const peer of message.peers) this.#link(peer).call();
  }

  #failed(message) {
    if (message.code === "resume_expired") {
      this.#resumeToken = null;
      this.#rejoin();
    } else {
      this.#emit("state", { state: "error", message: message.message });
    }
  }

  #offered(message) {
    const link = this.#links.get(message.from) ?? this.#link(message.from);
    link.answer({ type: "offer", sdp: message.sdp });
  }

  #link(peer) {
    const link = new Link(this.#options.iceServers, {
      signal: (message) => this.#signal({ ...message, to: peer }),
      open: () => this.#emit("peer-open", { peer }),
      message: (data) => this.#emit("peer-message", { peer, data }),
    });
    this.#links.set(peer, link);
    return link;
  }

  #drop(peer) {
    this.#links.get(peer)?.close();
    this.#links.delete(peer);
  }

  #giveUp(reason) {
    this.#emit("fallback", { reason });
    this.#stop("game-server");
  }

  #stop(state) {
    this.#over = true;
    clearTimeout(this.#timer);
    this.#socket?.close(1000);
    for (const peer of [...this.#links.keys()]) this.#drop(peer);
    this.#emit("state", { state });
  }

  #emit(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

// The connection to one peer. What is done to it is done one after the other.
class Link {
  channel = null;
  #peer; #on; #caller = false; #early = []; #work = Promise.resolve();

  constructor(iceServers, on) {
    this.#on = on;
    this.#peer = new RTCPeerConnection({ iceServers });
    this.#peer.onicecandidate = ({ candidate }) => {
      if (candidate) on.signal({ type: "ice-candidate", candidate: candidate.toJSON() });
    };
    this.#peer.ondatachannel = ({ channel }) => this.#use(channel);
    this.#peer.onconnectionstatechange = () => {
      // Only who called mends the path, so that two offers never meet.
      if (this.#caller && this.#peer.connectionState === "failed") {
        this.#peer.restartIce();
        this.#offer();
      }
    };
  }

  call() {
    this.#caller = true;
    this.#use(this.#peer.createDataChannel("game"));
    this.#offer();
  }

  answer(offer) {
    this.#then(async () => {
      await this.#accept(offer);
      await this.#peer.setLocalDescription();
      this.#on.signal({ type: "answer", sdp: this.#peer.localDescription.sdp });
    });
  }

  remote(answer) { this.#then(() => this.#accept(answer)); }

  // A candidate may be here before the description that it belongs to.
  candidate(candidate) {
    this.#then(() => this.#peer.remoteDescription
      ? this.#peer.addIceCandidate(candidate) : void this.#early.push(candidate));
  }

  close() { this.#peer.close(); }

  #offer() {
    this.#then(async () => {
      await this.#peer.setLocalDescription();
      this.#on.signal({ type: "offer", sdp: this.#peer.localDescription.sdp });
    });
  }

  async #accept(description) {
    await this.#peer.setRemoteDescription(description);
    for (const candidate of this.#early.splice(0)) await this.#peer.addIceCandidate(candidate);
  }

  #use(channel) {
    this.channel = channel;
    channel.binaryType = "arraybuffer";
    channel.onopen = () => this.#on.open();
    channel.onmessage = ({ data }) => this.#on.message(data);
  }

  #then(step) {
    this.#work = this.#work.then(step).catch((error) => {
      if (this.#peer.signalingState !== "closed") console.warn("a step of the connection failed:", error);
    });
  }
}
