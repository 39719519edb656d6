// Puts the parts together: who hears of what.
//
// In: the document. Out: nothing; each part is a module with one concern, and this is the only place
// that knows them all.

import * as api from './api.js';
import { Announcer } from './announce.js';
import { keepAwake } from './awake.js';
import { Captions } from './captions.js';
import { Channel } from './channel.js';
import { Composer } from './composer.js';
import { Connection } from './connection.js';
import { copy } from './copy.js';
import { dress, label, t } from './i18n.js';
import { listen } from './keys.js';
import { Latency } from './latency.js';
import { Log } from './log.js';
import { Menu } from './menu.js';
import { Meter } from './meter.js';
import { Microphone } from './microphone.js';
import { Notices } from './notices.js';
import { Picker } from './picker.js';
import { Recording } from './recording.js';
import { forgetAddressSession, params, sessionLink, tab } from './settings.js';
import { Sound } from './sound.js';
import { Stage } from './stage.js';
import { Stats } from './stats.js';
import { Status } from './status.js';
import { Theatre } from './theatre.js';
import { Trial } from './trial.js';

const $ = (selector) => document.querySelector(selector);

dress();
tab.write('reloads', 0);

const connection = new Connection({
  session: params.session || tab.read('session'),
  avatar: params.avatar || tab.read('avatar'),
  codec: params.codec,
  // To see whether the relay works: nothing goes the direct way.
  relayOnly: params.ice === 'relay',
});
const channel = new Channel(connection);
const stage = new Stage($('.stage'), $('.backdrop'));
const sound = new Sound(stage.video);
const meter = new Meter();
const microphone = new Microphone();
const latency = new Latency();
const captions = new Captions($('.captions'), () => meter.delay);
const log = new Log($('.log'));
const announcer = new Announcer($('#spoken'));
const composer = new Composer($('.composer'));
const notices = new Notices($('.notices'));
const status = new Status($('.status'), $('.stage'), notices);
const stats = new Stats($('section.stats'), $('#stats'), latency);
const picker = new Picker($('.chip'), $('#avatars'));
const menu = new Menu($('#menu'), $('#settings'));
const theatre = new Theatre($('.page'));

/** idle, listening, thinking, speaking: the server's word for what the avatar does. */
let state = 'idle';
/** Words were sent and nothing has come of them yet. */
let awaiting = false;
/** The server has said in words what went wrong with this answer. */
let explained = false;
/** A join was asked for; its answer deserves a word. */
let joining = '';
/** The person knows that the way is the slow one. */
let toldOfTcp = false;

function enterState(next) {
  state = next;
  status.state = next;
  log.thinking(next === 'thinking');
  composer.stoppable = awaiting || next === 'thinking' || next === 'speaking';
}

/** Whether something shall come of words that were sent. */
function expect(on) {
  awaiting = on;
  enterState(state);
}

/** The avatar `id` is on the stage, or will be as soon as the list of avatars is here. */
function showAvatar(id) {
  picker.current = id;
  if (id) {
    connection.avatar = id;
    tab.write('avatar', id);
  }
  const avatar = picker.avatar(id);
  if (avatar) stage.setAvatar(avatar);
}

// Sending and stopping

function say({ type, text }) {
  sound.tap();
  begin();
  log.mine(text);
  if (state === 'idle') latency.asked();
  // A question cuts what is being said; a line to say waits its turn.
  if (state === 'speaking' && type === 'chat') hush();
  explained = false;
  channel.say(type, text);
  expect(true);
}

/** Silence here and now; the server's follows. */
function hush() {
  sound.hush();
  captions.clear();
  announcer.drop();
}

function stop() {
  if (!awaiting && state === 'idle') return false;
  if (state === 'speaking') latency.stopped();
  hush();
  channel.interrupt();
  expect(false);
  return true;
}

composer.addEventListener('say', ({ detail }) => say(detail));
composer.addEventListener('stop', () => stop());
composer.addEventListener('refused', ({ detail }) => notices.show('text', () => t('error.text_over', detail)));
for (const starter of document.querySelectorAll('.welcome button')) {
  starter.addEventListener('click', () => {
    say({ type: starter.dataset.say, text: starter.querySelector('span')?.textContent ?? starter.textContent });
    if (matchMedia('(hover: hover)').matches) composer.focus();
  });
}

// What the server tells

channel.addEventListener('hello', ({ detail }) => {
  log.history(detail.history ?? []);
  showAvatar(detail.avatar);
  menu.voice = detail.voice ?? '';
  if (microphone.on) channel.microphone(microphone.status);
  enterState(detail.state ?? 'idle');
});
channel.addEventListener('state', ({ detail }) => enterState(detail.state));
channel.addEventListener('transcript', ({ detail }) => (detail.final ? log.transcript(detail.text) : log.hearing(detail.text)));
channel.addEventListener('turn', ({ detail: { id, event, heard } }) => {
  if (event !== 'interrupted') expect(false);
  if (event === 'started') {
    sound.release();
  } else if (event === 'ended') {
    captions.ended(id);
    announcer.flush();
    log.ended(id, heard);
  } else if (event === 'interrupted') {
    // What was sent before the server stopped is still in the jitter buffer.
    sound.release(meter.delay);
    latency.confirmed();
    captions.interrupted(id);
    announcer.drop();
    log.interrupted(id, heard);
  } else if (event === 'failed') {
    announcer.drop();
    log.failed(id, heard);
    if (!explained) notices.show('server', () => t('error.turn_failed'));
  }
});
channel.addEventListener('caption', ({ detail }) => {
  captions.clause(detail);
  announcer.clause(detail.text);
  log.clause(detail.turn, detail.text);
});
channel.addEventListener('avatar', ({ detail }) => showAvatar(detail.id));
channel.addEventListener('voice', ({ detail }) => {
  menu.voice = detail.id;
});
channel.addEventListener('bye', ({ detail: { reason } }) => connection.bye(reason));
channel.addEventListener('stats', ({ detail }) => {
  stats.server = detail;
});
channel.addEventListener('error', ({ detail: { code, msg } }) => {
  explained = true;
  expect(false);
  notices.show('server', () => t(`error.${code}`) || t('error.other', { msg: msg || code }));
});
channel.addEventListener('undelivered', ({ detail: { text, code } }) => {
  log.undelivered(text);
  composer.restore(text);
  expect(false);
  if (code) notices.show('server', () => t(`error.${code}`) || t('error.undelivered'));
});
channel.addEventListener('posted', ({ detail }) => log.transcript(detail.text));

// The connection's life

connection.addEventListener('phase', ({ detail }) => {
  status.phase = detail;
  keepAwake(detail.phase === 'live');
  $('.ended').hidden = detail.phase !== 'ended';
  if (detail.phase === 'ended') tab.write('session', '');
  if (detail.phase !== 'waiting' && detail.phase !== 'ended') return;
  captions.clear();
  announcer.drop();
  state = 'idle';
  expect(false);
});
connection.addEventListener('closing', () => stage.hold());
connection.addEventListener('peer', ({ detail: { pc, stream } }) => {
  meter.pc = pc;
  latency.pc = pc;
  stage.play(stream);
  sound.release();
  sound.apply();
});
connection.addEventListener('session', ({ detail: { id, fresh } }) => {
  tab.write('session', id);
  menu.session = id;
  const chip = $('.session');
  chip.hidden = false;
  chip.querySelector('.session-id').textContent = id.slice(0, 8);
  if (fresh) startAnew(fresh);
  if (joining === id) {
    log.clear();
    notices.show('session', () => t('note.joined'), { calm: true });
  }
  joining = '';
});
connection.addEventListener('refused', ({ detail: { code, session } }) => {
  if (code === 'unknown_avatar') {
    notices.show('avatar', () => t('error.unknown_avatar'));
  } else if (joining) {
    joining = '';
    notices.show('session', () => t('note.no_such_session'));
  } else {
    startAnew(session);
  }
});

/** A new conversation, if the one before has ended. */
function begin() {
  if (connection.phase !== 'ended') return;
  forgetAddressSession();
  log.divide('log.new');
  connection.begin();
}
$('.ended button').addEventListener('click', () => {
  sound.tap();
  begin();
});

/** The session `gone` does not exist any more and another begins. */
function startAnew(gone) {
  forgetAddressSession();
  const never = gone === params.session && log.empty;
  if (!log.empty) log.divide('log.new');
  notices.show('session', () => t(never ? 'note.no_such_session' : 'note.new_session'), { calm: true });
}

stage.addEventListener('frame', () => connection.frameShown());
meter.addEventListener('sample', ({ detail }) => {
  stats.sample = detail;
  connection.flowing(detail.packets);
  if (detail.overTcp && !toldOfTcp) notices.show('path', () => t('note.udp_blocked'), { calm: true });
  toldOfTcp = detail.overTcp;
});
document.addEventListener('visibilitychange', () => keepAwake(connection.live));

// The controls around the picture

sound.addEventListener('change', () => {
  $('.unlock').hidden = !sound.offered;
  $('#sound use').setAttribute('href', `#icon-${sound.audible ? 'sound' : 'muted'}`);
  label($('#sound'), sound.audible ? 'sound.off' : 'sound.on', 'V');
});
$('.unlock').hidden = !sound.offered;
$('.unlock').addEventListener('click', () => sound.tap());
$('.picture').addEventListener('click', () => sound.tap());
$('#sound').addEventListener('click', () => sound.toggle());

function toggleCaptions() {
  captions.visible = !captions.visible;
  $('#captions').setAttribute('aria-pressed', String(captions.visible));
}
$('#captions').setAttribute('aria-pressed', String(captions.visible));
$('#captions').addEventListener('click', toggleCaptions);
for (const button of document.querySelectorAll('.full')) button.addEventListener('click', () => theatre.toggle());

// The microphone

const mic = $('#mic');
microphone.addEventListener('track', ({ detail }) => {
  connection.microphone = detail.track;
});
microphone.addEventListener('mic', ({ detail }) => {
  channel.microphone(detail);
});
microphone.addEventListener('level', ({ detail }) => mic.style.setProperty('--level', detail.level.toFixed(3)));
microphone.addEventListener('change', () => {
  mic.setAttribute('aria-pressed', String(microphone.hot));
  if (!microphone.on) mic.style.removeProperty('--level');
  label(mic, microphone.holdToTalk ? 'mic.hold' : microphone.on ? 'mic.off' : 'mic.on', 'M');
});
label(mic, microphone.holdToTalk ? 'mic.hold' : 'mic.on', 'M');
microphone.addEventListener('refused', ({ detail: { key } }) => {
  notices.show('mic', () => t(key, { https: location.href.replace(/^http:/, 'https:') }), { stays: key === 'mic.insecure' });
});
function toggleMicrophone() {
  sound.tap();
  notices.clear('mic');
  if (!microphone.holdToTalk) microphone.toggle();
}
function talk() {
  sound.tap();
  microphone.hold();
}
mic.addEventListener('click', toggleMicrophone);
mic.addEventListener('pointerdown', talk);
mic.addEventListener('keydown', (event) => event.key === ' ' && !event.repeat && talk());
for (const end of ['pointerup', 'pointercancel', 'pointerleave', 'blur']) mic.addEventListener(end, () => microphone.release());
menu.addEventListener('open', async () => menu.showDevices(await Microphone.devices(), microphone.device));
menu.addEventListener('talk', ({ detail }) => {
  microphone.holdToTalk = detail.hold;
});
menu.addEventListener('voice', ({ detail }) => channel.speakAs(detail.id));
menu.addEventListener('device', ({ detail }) => microphone.choose(detail.id));

picker.addEventListener('pick', ({ detail: { id } }) => {
  if (!channel.switchAvatar(id)) showAvatar(id);
});
new Trial($('#trial'), () => connection.session);
menu.addEventListener('join', ({ detail: { id } }) => {
  joining = id;
  connection.join(id);
});

new Recording($('#recording')).addEventListener('file', async ({ detail: { file } }) => {
  sound.tap();
  $('#settings').close();
  try {
    // The server would break off the upload, and its words with it.
    if (file.size > api.RECORDING_BYTES) throw new api.ApiError('too_large');
    await api.humanAudio(connection.session, file);
  } catch ({ code, message }) {
    notices.show('server', () => t(`error.${code}`) || t('error.other', { msg: message || code }));
  }
});

async function copyOut(text, done) {
  const copied = await copy(text);
  notices.show('copy', () => t(copied ? done : 'note.not_copied'), { calm: true });
}
const copyLink = () => copyOut(sessionLink(connection.session), 'note.link_copied');
menu.addEventListener('copy', copyLink);
$('.session').addEventListener('click', copyLink);
$('#transcript').addEventListener('click', () => copyOut(log.text(), 'note.log_copied'));
$('#report').addEventListener('click', () => copyOut(stats.text(), 'note.report_copied'));
log.addEventListener('change', () => {
  $('.welcome').hidden = !log.empty;
  $('#transcript').hidden = log.empty;
});

const fold = $('.fold');
fold.addEventListener('click', () => {
  const folded = $('.page').classList.toggle('folded');
  fold.setAttribute('aria-expanded', String(!folded));
});

listen(
  {
    stop() {
      if (!stop() && composer.focused) composer.blur();
    },
    sound: () => sound.toggle(),
    captions: toggleCaptions,
    stats: () => stats.toggle(),
    full: () => theatre.toggle(),
    mic: toggleMicrophone,
    hold: talk,
    release: () => microphone.release(),
    text: () => composer.focus(),
  },
  () => menu.keys,
);

// The beginning: the connection does not wait for the pictures, nor they for it.

api.avatars().then((list) => {
  picker.avatars = list;
  showAvatar(picker.current || connection.avatar);
});
api.voices().then((list) => {
  menu.voices = list;
});
connection.start();
if (matchMedia('(hover: hover)').matches) composer.focus();
