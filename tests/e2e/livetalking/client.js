// Two clients of LiveTalking's, written from descriptions of what they do: its own page, and the one of seed 004's document.

/** Receives in `order`, after its addresses are known if it `waits`; `offer` goes with the SDP. */
async function connect({ order, waits, offer = {} }) {
  const peer = new RTCPeerConnection({ sdpSemantics: 'unified-plan' });
  globalThis.peer = peer;
  globalThis.streams = {};
  for (const kind of order) peer.addTransceiver(kind, { direction: 'recvonly' });
  peer.ontrack = ({ track, streams }) => {
    globalThis.streams[track.kind] = streams[0].id;
    document.getElementById(track.kind).srcObject = streams[0];
  };
  await peer.setLocalDescription(await peer.createOffer());
  if (waits && peer.iceGatheringState !== 'complete') {
    await new Promise((resolve) => {
      peer.addEventListener('icegatheringstatechange', () => peer.iceGatheringState === 'complete' && resolve());
    });
  }
  const { sdp, type } = peer.localDescription;
  const answer = await call('/offer', { sdp, type, ...offer });
  if (answer.code && answer.code !== 0) return answer;
  document.getElementById('sessionid').value = answer.sessionid;
  await peer.setRemoteDescription(answer);
  return answer;
}

/** The project's page: pictures first, a complete offer, an empty field for each wish. */
globalThis.project = (offer = {}) =>
  connect({ order: ['video', 'audio'], waits: true, offer: { avatar: '', refaudio: '', reftext: '', custom_config: '', ...offer } });

/** The document's: sound first, an offer at once. */
globalThis.documented = (offer = {}) => connect({ order: ['audio', 'video'], waits: false, offer: { video_transform: 'none', ...offer } });

async function call(route, body) {
  const reply = await fetch(route, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
  return reply.json();
}

/** A call of the page's own session. */
globalThis.ask = (route, body = {}) => call(route, { sessionid: document.getElementById('sessionid').value, ...body });

/** What is played of a kind: how far, how large, and the colour in the middle. */
globalThis.shown = () => {
  const video = document.getElementById('video');
  const canvas = Object.assign(document.createElement('canvas'), { width: 8, height: 8 });
  const paint = canvas.getContext('2d');
  if (video.videoWidth) paint.drawImage(video, 0, 0, 8, 8);
  const [red, green, blue] = paint.getImageData(4, 4, 1, 1).data;
  const sound = document.getElementById('audio');
  return { at: video.currentTime, heard: sound.currentTime, width: video.videoWidth, height: video.videoHeight, red, green, blue };
};

/** Writes down a recording through the socket of speech recognition; `samples` are 16-bit. Resolves with all replies. */
globalThis.write = (samples, mode, { piece = 960 } = {}) => new Promise((resolve, reject) => {
  const socket = new WebSocket(`${location.origin.replace('http', 'ws')}/api/asr`);
  const replies = [];
  socket.binaryType = 'arraybuffer';
  socket.onerror = () => reject(new Error('the socket failed'));
  socket.onopen = () => {
    socket.send(JSON.stringify({
      chunk_size: [5, 10, 5], wav_name: 'h5', is_speaking: true, chunk_interval: 10, itn: false, mode, hotwords: '{"visavis":20}',
    }));
    const sound = Int16Array.from(samples);
    for (let at = 0; at < sound.length; at += piece) socket.send(sound.slice(at, at + piece));
    socket.send(JSON.stringify({ chunk_size: [5, 10, 5], wav_name: 'h5', is_speaking: false, chunk_interval: 10, mode }));
  };
  socket.onmessage = ({ data }) => {
    replies.push(JSON.parse(data));
    if (replies.at(-1).is_final) {
      socket.close();
      resolve(replies);
    }
  };
});
