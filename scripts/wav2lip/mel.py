#!/usr/bin/env python3
"""Writes the mel values that the test of render::lips::mel compares with: tests/corpus/wav2lip/mel.bin.

Wav2Lip's recipe, said with librosa and scipy and nothing of ours: pre-emphasis 0.97, STFT 800/200/800 (centred, zeros
outside), magnitude, Slaney bands 55 to 7600 Hz, decibels over 1e-5 less 20, scaled from -100..0 to -4..4 and cut there.

    pip install librosa==0.11.0 && scripts/wav2lip/mel.py

The file: u32 samples, u32 columns, the samples as i16 (16 kHz, full scale 32768), then 80 rows of columns as f32.
"""
import struct
from pathlib import Path

import librosa
import numpy as np
from scipy.signal import lfilter

RATE = 16_000


def sound() -> np.ndarray:
    """0.6 s: silence, a voice of 40 harmonics that glides, noise like an s, a click."""
    t = np.arange(int(0.6 * RATE)) / RATE
    pitch = 2 * np.pi * (110 * t + 60 * t * t)
    voice = sum(np.sin(k * pitch) / k for k in range(1, 41)) * 0.12
    noise = np.random.default_rng(7).standard_normal(len(t)) * 0.05
    out = np.where((t > 0.1) & (t < 0.35), voice, 0) + np.where((t > 0.37) & (t < 0.5), noise, 0)
    out[int(0.55 * RATE)] = 0.9
    return np.round(out * 32_768).clip(-32_768, 32_767).astype(np.int16)


def mel(pcm: np.ndarray) -> np.ndarray:
    emphasised = lfilter([1, -0.97], [1], pcm.astype(np.float32) / 32_768)
    spectrum = librosa.stft(y=emphasised, n_fft=800, hop_length=200, win_length=800)
    bands = librosa.filters.mel(sr=RATE, n_fft=800, n_mels=80, fmin=55, fmax=7_600)
    decibels = 20 * np.log10(np.maximum(1e-5, bands @ np.abs(spectrum))) - 20
    return np.clip(8 * (decibels + 100) / 100 - 4, -4, 4).astype(np.float32)


if __name__ == "__main__":
    pcm = sound()
    values = mel(pcm)
    path = Path(__file__).parents[2] / "tests/corpus/wav2lip/mel.bin"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<II", len(pcm), values.shape[1]) + pcm.tobytes() + values.tobytes())
    print(path, values.shape, values.min(), values.max())
