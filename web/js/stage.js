// Where the avatar is seen: poster first, then live video, then (while reconnecting) its last picture.
//
// In: avatars from the list, streams from the connection, their ends. Out: `frame` when a stream's first picture is
// on the screen. Three layers, bottom up: poster image, canvas with the last picture, video; the video
// fades in when it has something to show, so there is never a black square.

import * as api from './api.js';
import { paintBackdrop } from './backdrop.js';

export class Stage extends EventTarget {
  #root;
  #video;
  #poster;
  #held;
  #backdrop;

  constructor(root, backdrop) {
    super();
    this.#root = root;
    this.#backdrop = backdrop;
    this.#video = root.querySelector('video');
    this.#poster = root.querySelector('.poster');
    this.#held = root.querySelector('.held');
    this.#poster.addEventListener('load', () => {
      paintBackdrop(this.#backdrop, this.#poster);
      this.#root.classList.add('posed');
    });
  }

  get video() {
    return this.#video;
  }

  /** Shows whose picture belongs here: poster, proportions, ground. */
  setAvatar(avatar) {
    this.#root.style.setProperty('--aspect', `${avatar.width || 1} / ${avatar.height || 1}`);
    const poster = api.url(avatar.poster);
    if (this.#poster.src !== poster) this.#poster.src = poster;
  }

  /** Plays a new connection's stream as soon as it shows a picture. */
  play(stream) {
    const video = this.#video;
    video.srcObject = stream;
    const shown = () => {
      if (video.srcObject !== stream || !video.videoWidth) return;
      video.removeEventListener('resize', shown);
      this.#root.classList.add('alive');
      this.dispatchEvent(new Event('frame'));
    };
    // A hidden page composes no frames, so its callback never comes; the first decoded size does.
    if (video.requestVideoFrameCallback && !document.hidden) video.requestVideoFrameCallback(shown);
    else video.addEventListener('resize', shown);
  }

  /** Keeps the last picture on the screen; to be called while there still is one. */
  hold() {
    const video = this.#video;
    if (!this.#root.classList.contains('alive') || !video.videoWidth) return;
    this.#held.width = video.videoWidth;
    this.#held.height = video.videoHeight;
    this.#held.getContext('2d').drawImage(video, 0, 0);
    this.#root.classList.add('holding');
    this.#root.classList.remove('alive');
  }
}
