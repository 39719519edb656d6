// What seed 001's document says of its client, and no more: it receives sound, opens the channel `chat`, posts its offer
// before it has any candidate, sends plain text, and begins another answer, for the next text of its queue, when the tag
// changes.

class Client {
  constructor() {
    this.messages = [];
    this.asked = [];
    this.dialogue = [];
    this.tag = null;
    this.errors = [];
  }

  async connect() {
    const began = performance.now();
    this.peer = new RTCPeerConnection();
    this.peer.addTransceiver('audio', { direction: 'recvonly' });
    this.peer.ontrack = ({ streams }) => {
      this.streams = streams.length;
      document.querySelector('#audio').srcObject = streams[0];
    };
    this.channel = this.peer.createDataChannel('chat');
    this.channel.onmessage = ({ data }) => this.take(JSON.parse(data));
    const opened = new Promise((resolve) => (this.channel.onopen = resolve));
    const offer = await this.peer.createOffer();
    this.candidates = offer.sdp.match(/a=candidate/g)?.length ?? 0;
    await this.peer.setLocalDescription(offer);
    const reply = await fetch('/offer', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ sdp: offer.sdp, type: offer.type }),
    });
    this.answer = await reply.json();
    await this.peer.setRemoteDescription(this.answer);
    await opened;
    this.connectedInMs = performance.now() - began;
  }

  send(text) {
    this.channel.send(text);
    if (text.trim()) this.asked.push(text);
  }

  take(message) {
    this.messages.push({ at: performance.now(), ...message });
    if (message.type === 'error') this.errors.push(message.error);
    if (message.type !== 'text_chunk') return;
    if (message.tag !== this.tag) {
      this.tag = message.tag;
      this.dialogue.push({ asked: this.asked.shift(), tag: message.tag, said: '' });
      document.querySelector('#dialogue').append(document.createElement('li'));
    }
    this.dialogue.at(-1).said += message.content;
    document.querySelector('#dialogue').lastChild.textContent = this.dialogue.at(-1).said;
  }
}

globalThis.client = new Client();
