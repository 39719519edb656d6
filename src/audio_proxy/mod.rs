//! `/audio_proxy`: sound in, sound and text out, over one WebSocket (seed 003).
