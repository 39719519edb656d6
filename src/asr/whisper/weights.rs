//! Whisper's weights, from the layout they are published in to the one the engine reads.
//!
//! In: `CTranslate2`'s `model.bin` (half precision, query, key and value of an attention joined) and `vocabulary.json`.
//! Out: a ggml file in memory, matrices in 8-bit blocks. Runs once, at the start, on a blocking thread: 0.3 s.

use std::collections::HashMap;
use std::io::{self, BufReader, Read};
use std::path::Path;

use half::f16;

/// Samples of a mel window at 16 kHz (25 ms), which gives [`BINS`] frequencies.
const WINDOW: usize = 400;
const BINS: usize = WINDOW / 2 + 1;
/// Mel bands of every Whisper up to large-v2.
const MELS: usize = 80;
/// Numbers that share one scale in ggml's `Q8_0`.
const BLOCK: usize = 32;
/// `GGML_FTYPE_MOSTLY_Q8_0`, with version 2 of the block layouts in the thousands.
const FTYPE_Q8_0: u32 = 2007;
/// ggml's tensor types.
const F32: u32 = 0;
const F16: u32 = 1;
const Q8_0: u32 = 8;
/// `CTranslate2`'s number of half precision.
const CT2_F16: u8 = 4;
/// Largest tensor that is read: four times the word embeddings of base.
const MAX_TENSOR_BYTES: usize = 256 << 20;
/// Words that are text; behind them stand end of text, start, languages, tasks and times, which the engine names itself.
const TEXT_WORDS: usize = 50_257;

/// Reads both files under `dir` and gives the engine's file.
pub(super) fn load(dir: &Path) -> io::Result<Vec<u8>> {
    let vocabulary: Vec<String> = serde_json::from_slice(&std::fs::read(dir.join("vocabulary.json"))?)?;
    let model = std::fs::File::open(dir.join("model.bin"))?;
    convert(BufReader::with_capacity(1 << 20, model), &vocabulary)
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// One tensor as it is published: half precision, row-major.
struct Tensor {
    shape: Vec<usize>,
    values: Vec<f16>,
}

impl Tensor {
    /// A third or half of the rows: query, key and value lie one after another.
    fn rows(&self, part: usize, of: usize) -> &[f16] {
        let len = self.values.len() / of;
        &self.values[part * len..][..len]
    }
}

fn convert(model: impl Read, vocabulary: &[String]) -> io::Result<Vec<u8>> {
    let tensors = Ct2 { from: model }.tensors()?;
    let shape = |name: &str| Ok::<_, io::Error>(&find(&tensors, name)?.shape);
    let layers =
        |side: &str| (0..64).take_while(|n| tensors.contains_key(&format!("{side}/layer_{n}/ffn/layer_norm/gamma"))).count();
    let (audio, text, words) = (
        shape("encoder/position_encodings/encodings")?,
        shape("decoder/position_encodings/encodings")?,
        shape("decoder/embeddings/weight")?,
    );
    let [width, text_width] = [audio[1], text[1]];
    // Heads are 64 wide in every Whisper.
    let sizes = [
        words[0],
        audio[0],
        width,
        width / 64,
        layers("encoder"),
        text[0],
        text_width,
        text_width / 64,
        layers("decoder"),
        MELS,
    ];
    let mut out = Ggml(Vec::with_capacity(96 << 20));
    out.0.extend(b"lmgg");
    sizes.iter().for_each(|&size| out.number(size));
    out.0.extend(FTYPE_Q8_0.to_le_bytes());
    out.number(MELS);
    out.number(BINS);
    mel_filters().iter().for_each(|weight| out.0.extend(weight.to_le_bytes()));
    out.vocabulary(vocabulary)?;
    out.tensors(&tensors, layers("encoder"), layers("decoder"))?;
    Ok(out.0)
}

fn find<'a>(tensors: &'a HashMap<String, Tensor>, name: &str) -> io::Result<&'a Tensor> {
    tensors.get(name).ok_or_else(|| invalid(format!("no tensor {name}")))
}

/// A reader of `CTranslate2`'s container, version 6.
struct Ct2<R> {
    from: R,
}

impl<R: Read> Ct2<R> {
    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn u32(&mut self) -> io::Result<u32> {
        Ok(u32::from_le_bytes(self.bytes()?))
    }

    fn string(&mut self) -> io::Result<String> {
        let len = u16::from_le_bytes(self.bytes()?);
        let mut bytes = vec![0; usize::from(len)];
        self.from.read_exact(&mut bytes)?;
        String::from_utf8(bytes).map(|s| s.trim_end_matches('\0').to_owned()).map_err(|_| invalid("a name is not UTF-8"))
    }

    /// Those of half precision: all weights. The rest are settings that the engine knows.
    fn tensors(&mut self) -> io::Result<HashMap<String, Tensor>> {
        let version = self.u32()?;
        let kind = self.string()?;
        if version != 6 || kind != "WhisperSpec" {
            return Err(invalid(format!("this is {kind} version {version}, not WhisperSpec version 6")));
        }
        self.u32()?;
        let count = self.u32()?;
        let mut tensors = HashMap::new();
        for _ in 0..count {
            let name = self.string()?;
            let [rank] = self.bytes()?;
            let shape = (0..rank).map(|_| Ok(self.u32()? as usize)).collect::<io::Result<Vec<_>>>()?;
            let [kind] = self.bytes()?;
            let len = self.u32()? as usize;
            if len > MAX_TENSOR_BYTES {
                return Err(invalid(format!("tensor {name} has {len} bytes")));
            }
            let mut bytes = vec![0; len];
            self.from.read_exact(&mut bytes)?;
            if kind != CT2_F16 {
                continue;
            }
            let values: Vec<f16> = bytes.chunks_exact(2).map(|b| f16::from_le_bytes([b[0], b[1]])).collect();
            if shape.iter().product::<usize>() != values.len() {
                return Err(invalid(format!("tensor {name} has not the size of its shape")));
            }
            tensors.insert(name, Tensor { shape, values });
        }
        Ok(tensors)
    }
}

/// A ggml file that is being written.
struct Ggml(Vec<u8>);

impl Ggml {
    fn number(&mut self, number: usize) {
        self.0.extend((number as u32).to_le_bytes());
    }

    fn vocabulary(&mut self, words: &[String]) -> io::Result<()> {
        let words = words.get(..TEXT_WORDS).ok_or_else(|| invalid("the vocabulary is too short"))?;
        let bytes = byte_of_character();
        self.number(words.len());
        for word in words {
            // The end of text is written out and belongs to no text: an empty word.
            let word = if word.starts_with("<|") && word.ends_with("|>") { "" } else { word };
            let spelled: Option<Vec<u8>> = word.chars().map(|c| bytes.get(&c).copied()).collect();
            let spelled = spelled.ok_or_else(|| invalid("a word of the vocabulary is not spelled in bytes"))?;
            self.number(spelled.len());
            self.0.extend(spelled);
        }
        Ok(())
    }

    fn tensors(&mut self, from: &HashMap<String, Tensor>, encoder: usize, decoder: usize) -> io::Result<()> {
        let get = |name: &str| find(from, name);
        for conv in ["conv1", "conv2"] {
            let weight = get(&format!("encoder/{conv}/weight"))?;
            self.half(&format!("encoder.{conv}.weight"), &weight.shape, &weight.values);
            let bias = get(&format!("encoder/{conv}/bias"))?;
            self.full(&format!("encoder.{conv}.bias"), &[bias.values.len(), 1], &bias.values);
        }
        for (side, layers) in [("encoder", encoder), ("decoder", decoder)] {
            let positions = get(&format!("{side}/position_encodings/encodings"))?;
            self.full(&format!("{side}.positional_embedding"), &positions.shape, &positions.values);
            let last = if side == "encoder" { "encoder.ln_post" } else { "decoder.ln" };
            self.norm(last, from, &format!("{side}/layer_norm"))?;
            for n in 0..layers {
                let (to, here) = (format!("{side}.blocks.{n}"), format!("{side}/layer_{n}"));
                self.norm(&format!("{to}.attn_ln"), from, &format!("{here}/self_attention/layer_norm"))?;
                self.parts(
                    &format!("{to}.attn"),
                    &["query", "key", "value"],
                    from,
                    &format!("{here}/self_attention/linear_0"),
                )?;
                self.parts(&format!("{to}.attn"), &["out"], from, &format!("{here}/self_attention/linear_1"))?;
                if side == "decoder" {
                    self.norm(&format!("{to}.cross_attn_ln"), from, &format!("{here}/attention/layer_norm"))?;
                    self.parts(&format!("{to}.cross_attn"), &["query"], from, &format!("{here}/attention/linear_0"))?;
                    self.parts(&format!("{to}.cross_attn"), &["key", "value"], from, &format!("{here}/attention/linear_1"))?;
                    self.parts(&format!("{to}.cross_attn"), &["out"], from, &format!("{here}/attention/linear_2"))?;
                }
                self.norm(&format!("{to}.mlp_ln"), from, &format!("{here}/ffn/layer_norm"))?;
                self.parts(&format!("{to}.mlp"), &["0"], from, &format!("{here}/ffn/linear_0"))?;
                self.parts(&format!("{to}.mlp"), &["2"], from, &format!("{here}/ffn/linear_1"))?;
            }
        }
        let words = get("decoder/embeddings/weight")?;
        self.quantised("decoder.token_embedding.weight", &words.shape, &words.values)
    }

    fn norm(&mut self, to: &str, from: &HashMap<String, Tensor>, here: &str) -> io::Result<()> {
        let (weight, bias) = (find(from, &format!("{here}/gamma"))?, find(from, &format!("{here}/beta"))?);
        self.full(&format!("{to}.weight"), &weight.shape, &weight.values);
        self.full(&format!("{to}.bias"), &bias.shape, &bias.values);
        Ok(())
    }

    /// A linear layer, or several that are published as one. Keys have no bias.
    fn parts(&mut self, to: &str, names: &[&str], from: &HashMap<String, Tensor>, here: &str) -> io::Result<()> {
        let (weight, bias) = (find(from, &format!("{here}/weight"))?, find(from, &format!("{here}/bias"))?);
        let [rows, columns] = weight.shape[..] else { return Err(invalid(format!("{here} is no matrix"))) };
        for (part, name) in names.iter().enumerate() {
            let shape = [rows / names.len(), columns];
            self.quantised(&format!("{to}.{name}.weight"), &shape, weight.rows(part, names.len()))?;
            if *name != "key" {
                self.full(&format!("{to}.{name}.bias"), &shape[..1], bias.rows(part, names.len()));
            }
        }
        Ok(())
    }

    fn head(&mut self, name: &str, shape: &[usize], kind: u32) {
        self.number(shape.len());
        self.number(name.len());
        self.0.extend(kind.to_le_bytes());
        // The fastest dimension comes first.
        shape.iter().rev().for_each(|&size| self.number(size));
        self.0.extend(name.as_bytes());
    }

    fn full(&mut self, name: &str, shape: &[usize], values: &[f16]) {
        self.head(name, shape, F32);
        values.iter().for_each(|value| self.0.extend(value.to_f32().to_le_bytes()));
    }

    fn half(&mut self, name: &str, shape: &[usize], values: &[f16]) {
        self.head(name, shape, F16);
        values.iter().for_each(|value| self.0.extend(value.to_le_bytes()));
    }

    /// ggml's `Q8_0`: for each 32 numbers of a row their scale, then the numbers as multiples of it.
    fn quantised(&mut self, name: &str, shape: &[usize], values: &[f16]) -> io::Result<()> {
        if !shape[1].is_multiple_of(BLOCK) {
            return Err(invalid(format!("rows of {name} are not made of blocks of {BLOCK}")));
        }
        self.head(name, shape, Q8_0);
        for block in values.as_chunks::<BLOCK>().0 {
            let block = block.map(f16::to_f32);
            let scale = block.iter().fold(0.0_f32, |most, value| most.max(value.abs())) / 127.0;
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            self.0.extend(f16::from_f32(scale).to_le_bytes());
            self.0.extend(block.map(|value| (value * inverse).round() as i8 as u8));
        }
        Ok(())
    }
}

/// Which byte a character of the vocabulary stands for: printable Latin-1 is itself, the others follow from U+0100 (the
/// byte-level alphabet of GPT-2).
fn byte_of_character() -> HashMap<char, u8> {
    let is_itself = |byte: u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..=255).filter(|&byte| !is_itself(byte)).zip('\u{100}'..).map(|(byte, character)| (character, byte));
    (0..=255).filter(|&byte| is_itself(byte)).map(|byte| (char::from(byte), byte)).chain(others).collect()
}

/// Weights of each frequency in each mel band, `[MELS, BINS]`: Slaney's scale and area, as Whisper was trained with.
fn mel_filters() -> Vec<f32> {
    // Linear to 1 kHz in steps of 200/3 Hz, then logarithmic, 27 steps to the factor 6.4.
    let hertz = |mel: f64| if mel < 15.0 { mel * 200.0 / 3.0 } else { 1000.0 * (6.4_f64.ln() / 27.0 * (mel - 15.0)).exp() };
    let top = 15.0 + (8_000.0_f64 / 1000.0).ln() * 27.0 / 6.4_f64.ln();
    let edges: Vec<f64> = (0..MELS + 2).map(|n| hertz(top * n as f64 / (MELS + 1) as f64)).collect();
    let mut weights = Vec::with_capacity(MELS * BINS);
    for band in edges.windows(3) {
        for bin in 0..BINS {
            let at = bin as f64 * 16_000.0 / WINDOW as f64;
            let (rise, fall) = ((at - band[0]) / (band[1] - band[0]), (band[2] - at) / (band[2] - band[1]));
            weights.push((rise.min(fall).max(0.0) * 2.0 / (band[2] - band[0])) as f32);
        }
    }
    weights
}
