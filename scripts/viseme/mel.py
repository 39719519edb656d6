"""What the network hears: 40 log-mel bands every 10 ms. `src/render/mel.rs` does the same, and its test holds values of `golden()`.

Frame i is the 25 ms that end with sample 160 (i + 1): nothing after its own 10 ms is needed, before the first sample is silence.
"""

import numpy as np

RATE_HZ = 16_000
HOP = 160
WINDOW = 400
N_FFT = 512
BANDS = 40
LOWEST_HZ, HIGHEST_HZ = 60.0, 7_600.0
# Power below this is silence: about -70 dB of full scale.
FLOOR = 1e-3


def filters():
    """Triangles on the mel scale (2595 log10(1 + f/700)), peak 1: [BANDS, N_FFT/2 + 1]."""
    mel = lambda hz: 2595 * np.log10(1 + hz / 700)  # noqa: E731
    edges = 700 * (10 ** (np.linspace(mel(LOWEST_HZ), mel(HIGHEST_HZ), BANDS + 2) / 2595) - 1)
    hz = np.arange(N_FFT // 2 + 1) * RATE_HZ / N_FFT
    low, peak, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.maximum(0, np.minimum((hz - low) / (peak - low), (high - hz) / (high - peak)))


_FILTERS = filters().astype(np.float32)
_HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


def log_mel(pcm):
    """f32 in -1..1 at 16 kHz → f32 [len / 160, 40]."""
    frames = len(pcm) // HOP
    padded = np.concatenate([np.zeros(WINDOW - HOP, np.float32), pcm[: frames * HOP].astype(np.float32)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP] * _HANN
    power = np.abs(np.fft.rfft(windows, N_FFT, axis=1)).astype(np.float32) ** 2
    return np.log(power @ _FILTERS.T + FLOOR)


def golden():
    """The sound and the frames of the Rust test: a rising tone over a rattle, frames 3, 9 and 19."""
    n = np.arange(20 * HOP)
    pcm = (8_000 * np.sin(2 * np.pi * (200 + n) * n / RATE_HZ)).astype(np.int16) + (n * n * 31 % 4_001 - 2_000).astype(np.int16)
    return log_mel(pcm / np.float32(32_768))[[3, 9, 19]]


if __name__ == "__main__":
    for frame in golden():
        print("[" + ", ".join(f"{v:.4f}" for v in frame) + "],")
