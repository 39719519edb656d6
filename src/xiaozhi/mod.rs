//! xiaozhi's WebRTC signalling and its devices (seed 002).
