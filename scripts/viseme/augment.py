"""Other speakers, rooms, microphones and lines out of a clean voice. Sound is f32 in -1..1 at 16 kHz."""

import numpy as np
from scipy.signal import butter, fftconvolve, resample_poly, sosfilt

from mel import RATE_HZ


def varied(pcm, others, dice):
    """`pcm` as somebody else would have recorded it, and the factor by which it became longer. `others` is sound to babble with."""
    rate = dice.uniform(0.78, 1.22) if dice.random() < 0.75 else 1.0
    pcm = np.interp(np.arange(0, len(pcm) - 1, rate), np.arange(len(pcm)), pcm).astype(np.float32)
    if dice.random() < 0.4:
        pcm = _room(pcm, dice)
    if dice.random() < 0.6:
        pcm = _noise(pcm, others, dice)
    if dice.random() < 0.3:
        pcm = _line(pcm, dice)
    # -6 to -38 dB of full scale at the peak.
    pcm *= 10 ** dice.uniform(-1.9, -0.3) / max(1e-4, np.abs(pcm).max())
    return pcm, 1 / rate


def _room(pcm, dice):
    """Noise that fades by 60 dB in 0.1 to 0.5 s, behind the direct sound."""
    length = int(RATE_HZ * dice.uniform(0.1, 0.5))
    tail = dice.standard_normal(length) * 10 ** (-3 * np.arange(length) / length)
    tail *= dice.uniform(0.1, 0.6) / np.sqrt((tail**2).sum())
    tail[0] = 1.0
    return fftconvolve(pcm, tail.astype(np.float32))[: len(pcm)].astype(np.float32)


def _noise(pcm, others, dice):
    """White, brown, hum or other people, 5 to 45 dB below the voice."""
    kind, length = dice.integers(4), len(pcm)
    if kind == 0:
        noise = dice.standard_normal(length)
    elif kind == 1:
        noise = sosfilt(butter(1, 300, fs=RATE_HZ, output="sos"), dice.standard_normal(length))
    elif kind == 2:
        pitch = dice.choice([50, 60]) * np.arange(1, 8)[:, None]
        noise = np.sin(2 * np.pi * pitch * np.arange(length) / RATE_HZ + dice.uniform(0, 6, (7, 1))).sum(0)
    else:
        noise = sum(np.resize(others[dice.integers(len(others))], length) for _ in range(4))
    loud = np.sqrt((pcm**2).mean() / max(1e-9, (noise**2).mean()))
    return (pcm + noise * loud * 10 ** (-dice.uniform(5 if kind < 3 else 12, 45) / 20)).astype(np.float32)


def _line(pcm, dice):
    """A telephone (8 kHz, µ-law), a muffled microphone, or a codec that forgets the weak bins of each 20 ms."""
    kind = dice.integers(3)
    if kind == 0:
        narrow = resample_poly(pcm, 1, 2) / max(1e-4, np.abs(pcm).max())
        coded = np.sign(narrow) * np.log1p(255 * np.abs(narrow)) / np.log(256)
        coded = np.round(coded * 127) / 127
        return resample_poly(np.sign(coded) * np.expm1(np.abs(coded) * np.log(256)) / 255, 2, 1).astype(np.float32)
    if kind == 1:
        return sosfilt(butter(2, dice.uniform(2_500, 6_000), fs=RATE_HZ, output="sos"), pcm).astype(np.float32)
    size = 320
    whole = len(pcm) // size * size
    spectra = np.fft.rfft(pcm[:whole].reshape(-1, size), axis=1)
    power = np.abs(spectra)
    spectra[power < power.max(1, keepdims=True) * dice.uniform(0.005, 0.05)] = 0
    return np.concatenate([np.fft.irfft(spectra, size, axis=1).ravel(), pcm[whole:]]).astype(np.float32)
