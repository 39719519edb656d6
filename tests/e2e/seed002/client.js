// Seed 002's TypeScript client, as its document and the reference describe it: the same messages in the same order. What a
// test wants otherwise is an option.

/** The socket; `messages` are all that came, each with the time at which it did. */
class SignalingClient {
  messages = [];

  async connect(url) {
    this.socket = new WebSocket(url);
    this.socket.onmessage = ({ data }) => this.messages.push({ at: performance.now(), ...JSON.parse(data) });
    this.socket.onclose = ({ code }) => (this.closed = code);
    await new Promise((resolve, reject) => {
      this.socket.onopen = resolve;
      this.socket.onerror = () => reject(new Error('the socket did not open'));
    });
    this.timer = setInterval(() => this.send({ type: 'ping', payload: { timestamp: Date.now(), count: 1 } }), 15_000);
  }

  send(message) {
    this.socket.send(typeof message === 'string' ? message : JSON.stringify(message));
  }

  /** The first message that fits, of those after the first `skip`. */
  async expect(fits, what, timeout = 10_000, skip = 0) {
    const until = performance.now() + timeout;
    for (;;) {
      const found = this.messages.slice(skip).find(fits);
      if (found) return found;
      if (performance.now() > until) throw new Error(`no ${what} in ${timeout} ms: ${JSON.stringify(this.messages)}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  close() {
    clearInterval(this.timer);
    this.socket.close();
  }
}

/** How an offer and a candidate may look. */
const OFFERS = {
  payload: ({ type, sdp }) => ({ type: 'offer', payload: { type, sdp } }),
  flat: ({ sdp }) => ({ type: 'OFFER', sdp }),
  nested: ({ type, sdp }) => ({ type: 'sdp_offer', sdp: { type, sdp } }),
};
const CANDIDATES = {
  object: (c) => ({ type: 'ice-candidate', payload: c }),
  underscore: (c) => ({ type: 'ice_candidate', payload: c }),
  nested: (c) => ({ type: 'ice_candidate', payload: { candidate: c } }),
  text: (c) => ({ type: 'ice-candidate', payload: JSON.stringify(c) }),
  bare: (c) => ({ type: 'ice-candidate', payload: c && c.candidate.replace(/^candidate:/, '') }),
  prefixed: (c) => ({ type: 'candidate', payload: c && c.candidate }),
};

const without = (sdp, pattern) => sdp.split('\r\n').filter((line) => !pattern.test(line)).join('\r\n');

class WebRTCAudioConnection {
  constructor(signaling, options = {}) {
    this.signaling = signaling;
    this.options = options;
  }

  async initialize() {
    const { options } = this;
    this.pc = new RTCPeerConnection(options.rtc);
    globalThis.peers ??= [];
    if (!globalThis.peers.includes(this.pc)) globalThis.peers.push(this.pc);
    this.tracks = [];
    this.pc.ontrack = ({ track, streams }) => {
      this.tracks.push(track);
      if (track.kind === 'audio') document.querySelector('audio').srcObject ??= streams[0] ?? new MediaStream([track]);
    };
    if (options.deadLine === 'first') this.pc.addTransceiver('audio', { direction: 'sendrecv' });
    const transceiver = this.pc.addTransceiver('audio', { direction: 'sendrecv' });
    if (options.mic) {
      const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      const stream = await navigator.mediaDevices.getUserMedia({ audio });
      const [track] = stream.getAudioTracks();
      if (options.deadLine) {
        await transceiver.sender.replaceTrack(track);
      } else {
        this.pc.addTrack(track, stream);
      }
    }
    if (options.deadLine === 'last') this.pc.addTransceiver('audio', { direction: 'sendrecv' });
    if (options.video) this.pc.addTransceiver('video', { direction: 'recvonly' });
    if (options.channel !== false) {
      this.channel = this.pc.createDataChannel('control', { ordered: true, maxRetransmits: 5 });
      this.told = [];
      this.channel.onmessage = ({ data }) => this.told.push(JSON.parse(data));
    }
    this.candidateErrors = [];
    this.pc.onicecandidateerror = ({ errorCode }) => this.candidateErrors.push(errorCode);
    this.pc.onicecandidate = ({ candidate }) => {
      if (options.keepsCandidates) return;
      this.signaling.send(CANDIDATES[options.candidates ?? 'object'](candidate && candidate.toJSON()));
    };
  }

  /** Offers, and takes the answer; resolves once media can flow. */
  async connect({ wait = true } = {}) {
    const { options, pc, signaling } = this;
    const before = signaling.messages.length;
    await pc.setLocalDescription(await pc.createOffer());
    let { type, sdp } = pc.localDescription;
    if (options.early) {
      await new Promise((resolve) => (pc.onicegatheringstatechange = () => pc.iceGatheringState === 'complete' && resolve()));
    }
    sdp = without(sdp, /^a=(candidate|end-of-candidates)/);
    signaling.send(OFFERS[options.shape ?? 'payload']({ type, sdp: options.edit ? options.edit(sdp) : sdp }));
    const answer = await signaling.expect((m) => m.type === 'answer' || m.type === 'error', 'answer', 10_000, before);
    if (answer.type === 'error') throw new Error(answer.message);
    this.answer = answer;
    // One that knows no address of the server's can only be reached by it.
    const blind = options.blind ? without(answer.payload.sdp, /^a=(candidate|end-of-candidates)/) : answer.payload.sdp;
    await pc.setRemoteDescription({ type: answer.payload.type, sdp: blind });
    if (wait) await this.connected();
  }

  async connected(timeout = 10_000) {
    const until = performance.now() + timeout;
    while (this.pc.connectionState !== 'connected') {
      if (performance.now() > until) throw new Error(`still ${this.pc.connectionState}`);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    while (this.channel && this.channel.readyState !== 'open') await new Promise((resolve) => setTimeout(resolve, 5));
  }

  /** When the server has ended it: ICE would take its time to notice. */
  async gone() {
    while (this.channel.readyState !== 'closed') await new Promise((resolve) => setTimeout(resolve, 5));
    return performance.now();
  }

  close() {
    this.pc.close();
  }
}

/** The client's whole way: a socket and a connection, kept where a test finds them. */
globalThis.visit = async (options = {}) => {
  const name = `client_${Math.random().toString(36).slice(2, 9).padEnd(7, '0')}`;
  const origin = options.origin ?? `ws://${location.host}`;
  const signaling = new SignalingClient();
  await signaling.connect(`${origin}${options.path ?? '/ws/signaling'}?client_id=${options.name ?? name}`);
  const connection = new WebRTCAudioConnection(signaling, options);
  Object.assign(globalThis, { signaling, connection });
  await connection.initialize();
  await connection.connect(options);
  return connection.answer;
};
Object.assign(globalThis, { SignalingClient, WebRTCAudioConnection });
