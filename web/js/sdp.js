// The places where the page looks into codecs and SDP.
//
// In: a transceiver, an answer. Out: codec preferences; the address that media goes to; an answer with fewer ways.

/** Puts `codec` ("h264", "vp8") first and its retransmission beside it; for tests of one path. */
export function preferCodec(transceiver, codec) {
  const known = RTCRtpReceiver.getCapabilities?.('video')?.codecs ?? [];
  const wanted = known.filter(({ mimeType }) => mimeType.toLowerCase() === `video/${codec}`);
  if (wanted.length === 0) return;
  const repair = known.filter(({ mimeType }) => mimeType.toLowerCase() === 'video/rtx');
  transceiver.setCodecPreferences([...wanted, ...repair]);
}

/** Host and port of the answer's first UDP candidate, to name them when nothing gets through. */
export function mediaAddress(sdp) {
  const match = /^a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ /im.exec(sdp);
  return match ? { host: match[1], port: match[2] } : { host: location.hostname, port: location.port || '443' };
}

/** The answer without the candidates of other protocols than `protocol` ("udp", "tcp"). */
export function onlyBy(protocol, sdp) {
  const isOther = (line) => line.startsWith('a=candidate:') && line.split(' ')[2].toLowerCase() !== protocol;
  return sdp.split('\r\n').filter((line) => !isOther(line)).join('\r\n');
}
