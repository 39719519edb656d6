//! Runs the networks that find faces: TensorFlow Lite files of few kinds of layers, on one thread.
//!
//! In: the file, then a picture as f32. Out: the outputs as f32. All that the file says is checked while it is read: sizes,
//! which tensor is made before it is used, how much memory it asks for. What has been read runs without failing. Blocking.
//!
//! No crate runs these two files: their weights are half precision behind `DEQUANTIZE` layers. The layout of the file is
//! `TensorFlow`'s `schema.fbs` (Apache-2.0); numbers of fields and layers below are from there.

mod flatbuffer;
mod kernels;
#[cfg(test)]
mod tests;

use half::f16;

use self::flatbuffer::{Broken, Table};
use self::kernels::{Size, Window};

/// Most values of a tensor: a picture of 256 × 256 with 64 channels.
const MOST_VALUES: usize = 1 << 22;
/// Most layers and tensors of a network, and values of all its tensors together.
const MOST_PARTS: usize = 4_096;
const MOST_VALUES_ALTOGETHER: usize = 1 << 26;
/// Longest step and side of a window.
const MOST_WINDOW: usize = 64;

/// Why a file is no network that we can run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Error {
    /// Its offsets or sizes contradict each other.
    #[error("the network's file is damaged")]
    Damaged,
    /// It has a layer, or a kind of number, that we do not know.
    #[error("the network has a layer that is not known (number {0})")]
    Layer(i32),
    /// It is larger than any network of ours.
    #[error("the network is too large")]
    TooLarge,
}

impl From<Broken> for Error {
    fn from(Broken: Broken) -> Self {
        Self::Damaged
    }
}

/// A network that can run.
pub(super) struct Network {
    input: usize,
    outputs: Vec<usize>,
    input_size: Size,
    output_values: Vec<usize>,
    tensors: usize,
    steps: Vec<Step>,
}

/// One layer: what it makes, of what, and for how long it is needed.
struct Step {
    layer: Layer,
    from: usize,
    to: usize,
    /// Tensors that nobody needs after this.
    done: Vec<usize>,
}

enum Layer {
    Convolve {
        size: Size,
        weights: Vec<f32>,
        bias: Vec<f32>,
        window: Window,
        out: Size,
    },
    ConvolveEach {
        size: Size,
        weights: Vec<f32>,
        bias: Vec<f32>,
        window: Window,
        out: Size,
    },
    Largest {
        size: Size,
        window: Window,
        out: Size,
    },
    Add {
        other: usize,
    },
    /// Negative values are multiplied by their channel's slope.
    Slope {
        slopes: Vec<f32>,
    },
    /// Negative values are 0.
    Cut,
    Widen {
        channels: usize,
        before: usize,
        after: usize,
    },
    /// The same values in other rows.
    Reshape,
    Join {
        others: Vec<usize>,
    },
}

impl Network {
    /// Reads a network.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, Error> {
        // A file of TensorFlow Lite, by the mark behind its first offset.
        if bytes.get(4..8) != Some(b"TFL3") {
            return Err(Error::Damaged);
        }
        Reader::new(Table::root(bytes)?)?.network()
    }

    /// Values of the picture that it wants: width, height, channels.
    pub(super) fn input(&self) -> (usize, usize, usize) {
        (self.input_size.width, self.input_size.height, self.input_size.channels)
    }

    /// How many values each output has.
    pub(super) fn output_values(&self) -> &[usize] {
        &self.output_values
    }

    /// The outputs for `picture`, which has as many values as [`Self::input`] says.
    pub(super) fn run(&self, picture: Vec<f32>) -> Vec<Vec<f32>> {
        debug_assert_eq!(picture.len(), self.input_size.values());
        let mut tensors = vec![Vec::new(); self.tensors];
        tensors[self.input] = picture;
        for step in &self.steps {
            let from = &tensors[step.from];
            let made = match &step.layer {
                Layer::Convolve { size, weights, bias, window, out } => {
                    kernels::convolve(from, *size, weights, bias, *window, *out)
                }
                Layer::ConvolveEach { size, weights, bias, window, out } => {
                    kernels::convolve_each(from, *size, weights, bias, *window, *out)
                }
                Layer::Largest { size, window, out } => kernels::largest(from, *size, *window, *out),
                Layer::Add { other } => from.iter().zip(&tensors[*other]).map(|(a, b)| a + b).collect(),
                Layer::Slope { slopes } => {
                    let pixels = from.chunks_exact(slopes.len());
                    let bent = pixels.flat_map(|p| p.iter().zip(slopes).map(|(v, k)| if *v < 0.0 { v * k } else { *v }));
                    bent.collect()
                }
                Layer::Cut => from.iter().map(|v| v.max(0.0)).collect(),
                Layer::Widen { channels, before, after } => kernels::widen(from, *channels, *before, *after),
                Layer::Reshape => from.clone(),
                Layer::Join { others } => {
                    let parts = std::iter::once(from).chain(others.iter().map(|n| &tensors[*n]));
                    parts.flatten().copied().collect()
                }
            };
            tensors[step.to] = made;
            for gone in &step.done {
                tensors[*gone] = Vec::new();
            }
        }
        self.outputs.iter().map(|n| tensors[*n].clone()).collect()
    }
}

/// Numbers of layers in the file.
mod code {
    pub(super) const ADD: i32 = 0;
    pub(super) const CONCATENATION: i32 = 2;
    pub(super) const CONV_2D: i32 = 3;
    pub(super) const DEPTHWISE_CONV_2D: i32 = 4;
    pub(super) const DEQUANTIZE: i32 = 6;
    pub(super) const MAX_POOL_2D: i32 = 17;
    pub(super) const RELU: i32 = 19;
    pub(super) const RESHAPE: i32 = 22;
    pub(super) const PAD: i32 = 34;
    pub(super) const PRELU: i32 = 54;
}

/// What is known of a tensor while the network is read.
struct Tensor {
    shape: Vec<usize>,
    /// 0 is f32, 1 is f16, 2 is i32.
    kind: u8,
    /// Index of its bytes; 0 has none.
    buffer: usize,
}

impl Tensor {
    fn values(&self) -> usize {
        self.shape.iter().product()
    }

    /// As a picture.
    fn size(&self) -> Result<Size, Error> {
        match self.shape[..] {
            [1, height, width, channels] => Ok(Size { width, height, channels }),
            _ => Err(Error::Damaged),
        }
    }
}

struct Reader<'a> {
    tensors: Vec<Tensor>,
    buffers: Vec<&'a [u8]>,
    codes: Vec<i32>,
    graph: Table<'a>,
    /// Which tensors are there when the next layer runs.
    made: Vec<bool>,
    /// Weights that were unpacked, by tensor.
    unpacked: Vec<Option<Vec<f32>>>,
}

/// One layer in the file.
struct Operator<'a> {
    code: i32,
    inputs: Vec<usize>,
    output: usize,
    options: Option<Table<'a>>,
}

impl Operator<'_> {
    fn input(&self, n: usize) -> Result<usize, Error> {
        self.inputs.get(n).copied().ok_or(Error::Damaged)
    }

    fn option(&self, n: usize, default: i32) -> Result<i32, Error> {
        Ok(self.options.map_or(Ok(default), |options| options.int(n, default))?)
    }

    fn option_byte(&self, n: usize) -> Result<u8, Error> {
        Ok(self.options.map_or(Ok(0), |options| options.byte(n))?)
    }

    /// Layers with another one built in: none of ours has any.
    fn check_alone(&self, n: usize) -> Result<(), Error> {
        if self.option_byte(n)? == 0 { Ok(()) } else { Err(Error::Layer(self.code)) }
    }
}

impl<'a> Reader<'a> {
    fn new(model: Table<'a>) -> Result<Self, Error> {
        let codes =
            model.tables(1)?.iter().map(|c| Ok(c.int(3, 0)?.max(i32::from(c.byte(0)?)))).collect::<Result<_, Error>>()?;
        let graph = model.tables(2)?.first().copied().ok_or(Error::Damaged)?;
        let buffers = model.tables(4)?.iter().map(|b| Ok(b.bytes(0)?)).collect::<Result<_, Error>>()?;
        let tables = graph.tables(0)?;
        if tables.len() > MOST_PARTS {
            return Err(Error::TooLarge);
        }
        let mut tensors = Vec::with_capacity(tables.len());
        let mut altogether = 0;
        for table in tables {
            let shape = table.ints(0)?.into_iter().map(|n| usize::try_from(n).map_err(|_| Error::Damaged));
            let shape = shape.collect::<Result<Vec<_>, _>>()?;
            let values = shape.iter().try_fold(1_usize, |product, n| product.checked_mul(*n).filter(|p| *p <= MOST_VALUES));
            altogether += values.ok_or(Error::TooLarge)?;
            let buffer = usize::try_from(table.int(2, 0)?).map_err(|_| Error::Damaged)?;
            tensors.push(Tensor { shape, kind: table.byte(1)?, buffer });
        }
        if altogether > MOST_VALUES_ALTOGETHER {
            return Err(Error::TooLarge);
        }
        let (made, unpacked) = (vec![false; tensors.len()], vec![None; tensors.len()]);
        Ok(Self { tensors, buffers, codes, graph, made, unpacked })
    }

    fn network(mut self) -> Result<Network, Error> {
        let [input] = self.indices(&self.graph.ints(1)?)?[..] else { return Err(Error::Damaged) };
        let outputs = self.indices(&self.graph.ints(2)?)?;
        let input_size = self.tensors[input].size()?;
        self.made[input] = true;
        let mut steps = Vec::new();
        let operators = self.graph.tables(3)?;
        if operators.len() > MOST_PARTS {
            return Err(Error::TooLarge);
        }
        for table in operators {
            let operator = self.operator(table)?;
            if operator.code == code::DEQUANTIZE {
                let from = operator.input(0)?;
                let values = self.numbers(from)?;
                self.unpacked[operator.output] = Some(values);
                continue;
            }
            steps.push(self.step(&operator)?);
            // Written once: a second time, a reader before it would get what comes later.
            if std::mem::replace(&mut self.made[operator.output], true) {
                return Err(Error::Damaged);
            }
        }
        if !outputs.iter().all(|n| self.made[*n]) {
            return Err(Error::Damaged);
        }
        forget_early(&mut steps, &outputs);
        let output_values = outputs.iter().map(|n| self.tensors[*n].values()).collect();
        Ok(Network { input, outputs, input_size, output_values, tensors: self.tensors.len(), steps })
    }

    fn indices(&self, list: &[i32]) -> Result<Vec<usize>, Error> {
        let index = |n: &i32| usize::try_from(*n).ok().filter(|n| *n < self.tensors.len()).ok_or(Error::Damaged);
        list.iter().map(index).collect()
    }

    fn operator(&self, table: Table<'a>) -> Result<Operator<'a>, Error> {
        let code = usize::try_from(table.int(0, 0)?).ok().and_then(|n| self.codes.get(n)).ok_or(Error::Damaged)?;
        let inputs = self.indices(&table.ints(1)?)?;
        let [output] = self.indices(&table.ints(2)?)?[..] else { return Err(Error::Damaged) };
        Ok(Operator { code: *code, inputs, output, options: table.table(4)? })
    }

    fn step(&mut self, operator: &Operator<'a>) -> Result<Step, Error> {
        let (from, to) = (operator.input(0)?, operator.output);
        if !self.made[from] {
            return Err(Error::Damaged);
        }
        let layer = match operator.code {
            code::CONV_2D => self.convolution(operator, false)?,
            code::DEPTHWISE_CONV_2D => self.convolution(operator, true)?,
            code::MAX_POOL_2D => {
                operator.check_alone(5)?;
                let (size, out) = (self.tensors[from].size()?, self.tensors[to].size()?);
                let side = |n| positive(operator.option(n, 0)?, MOST_WINDOW);
                let window = fit(operator, size, out, (side(3)?, side(4)?))?;
                if size.channels != out.channels {
                    return Err(Error::Damaged);
                }
                Layer::Largest { size, window, out }
            }
            code::ADD => {
                operator.check_alone(0)?;
                let other = operator.input(1)?;
                self.check(self.made[other] && self.tensors[other].shape == self.tensors[from].shape)?;
                self.check(self.tensors[to].shape == self.tensors[from].shape)?;
                Layer::Add { other }
            }
            code::PRELU => {
                let slopes = self.numbers(operator.input(1)?)?;
                let channels = self.tensors[from].shape.last().copied().unwrap_or_default();
                self.check(channels > 0 && slopes.len() == channels)?;
                self.check(self.tensors[to].shape == self.tensors[from].shape)?;
                Layer::Slope { slopes }
            }
            code::RELU => {
                self.check(self.tensors[to].shape == self.tensors[from].shape)?;
                Layer::Cut
            }
            code::PAD => self.padding(operator)?,
            code::RESHAPE => {
                self.check(self.tensors[to].values() == self.tensors[from].values())?;
                Layer::Reshape
            }
            code::CONCATENATION => self.concatenation(operator)?,
            other => return Err(Error::Layer(other)),
        };
        Ok(Step { layer, from, to, done: Vec::new() })
    }

    #[expect(clippy::unused_self, reason = "reads as what it is beside the other checks")]
    fn check(&self, holds: bool) -> Result<(), Error> {
        if holds { Ok(()) } else { Err(Error::Damaged) }
    }

    fn convolution(&self, operator: &Operator<'a>, each: bool) -> Result<Layer, Error> {
        let activation = if each { 4 } else { 3 };
        operator.check_alone(activation)?;
        for dilation in [activation + 1, activation + 2] {
            if operator.option(dilation, 1)? != 1 {
                return Err(Error::Layer(operator.code));
            }
        }
        let (size, out) = (self.tensors[operator.input(0)?].size()?, self.tensors[operator.output].size()?);
        let kernel = operator.input(1)?;
        let (weights, bias) = (self.numbers(kernel)?, self.numbers(operator.input(2)?)?);
        let [first, height, width, last] = self.tensors[kernel].shape[..] else { return Err(Error::Damaged) };
        let window =
            fit(operator, size, out, (positive(width as i32, MOST_WINDOW)?, positive(height as i32, MOST_WINDOW)?))?;
        self.check(bias.len() == out.channels && weights.len() == first * height * width * last)?;
        if each {
            self.check(first == 1 && last == size.channels && last == out.channels)?;
            return Ok(Layer::ConvolveEach { size, weights, bias, window, out });
        }
        self.check(first == out.channels && last == size.channels)?;
        // The file has the output channel outermost; innermost, its sums lie side by side.
        let mut turned = vec![0.0; weights.len()];
        for (channel, kernel) in weights.chunks_exact(height * width * last).enumerate() {
            for (n, weight) in kernel.iter().enumerate() {
                turned[n * first + channel] = *weight;
            }
        }
        Ok(Layer::Convolve { size, weights: turned, bias, window, out })
    }

    fn padding(&self, operator: &Operator<'a>) -> Result<Layer, Error> {
        let table = &self.tensors[operator.input(1)?];
        let bytes = self.buffers.get(table.buffer).ok_or(Error::Damaged)?;
        self.check(table.kind == 2 && bytes.len() == 32)?;
        let numbers: Vec<i32> = bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b)).collect();
        let [0, 0, 0, 0, 0, 0, before, after] = numbers[..] else { return Err(Error::Layer(operator.code)) };
        let (from, to) = (self.tensors[operator.input(0)?].size()?, self.tensors[operator.output].size()?);
        let (before, after) = (at_most(before, MOST_PARTS)?, at_most(after, MOST_PARTS)?);
        self.check(to == Size { channels: from.channels + before + after, ..from } && from.channels > 0)?;
        Ok(Layer::Widen { channels: from.channels, before, after })
    }

    fn concatenation(&self, operator: &Operator<'a>) -> Result<Layer, Error> {
        operator.check_alone(1)?;
        let shape = |n: usize| &self.tensors[n].shape;
        let out = shape(operator.output);
        let mut length = 0;
        for input in &operator.inputs {
            let part = shape(*input);
            self.check(self.made[*input] && part.len() == out.len() && part.len() >= 2)?;
            // One after the other in memory: nothing but 1 stands before the side that grows.
            self.check(part[0] == 1 && out[0] == 1 && part[2..] == out[2..])?;
            length += part[1];
        }
        if operator.option(0, 0)? != 1 {
            return Err(Error::Layer(operator.code));
        }
        self.check(out[1] == length)?;
        Ok(Layer::Join { others: operator.inputs[1..].to_vec() })
    }

    /// The numbers of a tensor that is in the file, or was unpacked.
    fn numbers(&self, n: usize) -> Result<Vec<f32>, Error> {
        if let Some(numbers) = &self.unpacked[n] {
            return Ok(numbers.clone());
        }
        let tensor = &self.tensors[n];
        let bytes = *self.buffers.get(tensor.buffer).ok_or(Error::Damaged)?;
        let numbers: Vec<f32> = match tensor.kind {
            0 => bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
            1 => bytes.as_chunks().0.iter().map(|b| f16::from_le_bytes(*b).to_f32()).collect(),
            _ => return Err(Error::Layer(code::DEQUANTIZE)),
        };
        self.check(numbers.len() == tensor.values())?;
        Ok(numbers)
    }
}

fn at_most(n: i32, most: usize) -> Result<usize, Error> {
    usize::try_from(n).ok().filter(|n| *n <= most).ok_or(Error::Damaged)
}

fn positive(n: i32, most: usize) -> Result<usize, Error> {
    at_most(n, most).and_then(|n| if n == 0 { Err(Error::Damaged) } else { Ok(n) })
}

/// The window of a layer, if the sizes that the file states follow from it. Fields 0 to 2 are padding and steps in all layers.
fn fit(operator: &Operator<'_>, size: Size, out: Size, (width, height): (usize, usize)) -> Result<Window, Error> {
    let (step_x, step_y) = (positive(operator.option(1, 0)?, MOST_WINDOW)?, positive(operator.option(2, 0)?, MOST_WINDOW)?);
    let same = match operator.option_byte(0)? {
        0 => true,
        1 => false,
        _ => return Err(Error::Damaged),
    };
    // How many windows there are, and how far the first lies before the picture (`SAME` and `VALID` of TensorFlow).
    let axis = |side: usize, length: usize, step: usize| {
        if same {
            let count = side.div_ceil(step);
            let missing = (count.max(1) - 1) * step + length;
            Some((count, missing.saturating_sub(side) / 2))
        } else {
            Some(((side.checked_sub(length)?) / step + 1, 0))
        }
    };
    let (columns, left) = axis(size.width, width, step_x).ok_or(Error::Damaged)?;
    let (rows, top) = axis(size.height, height, step_y).ok_or(Error::Damaged)?;
    if (columns, rows) != (out.width, out.height) || size.channels == 0 || out.channels == 0 {
        return Err(Error::Damaged);
    }
    Ok(Window { width, height, step_x, step_y, left, top })
}

/// Marks with each step which tensors it is the last to use.
fn forget_early(steps: &mut [Step], outputs: &[usize]) {
    let mut needed: Vec<usize> = outputs.to_vec();
    for step in steps.iter_mut().rev() {
        let mut used = vec![step.from];
        match &step.layer {
            Layer::Add { other } => used.push(*other),
            Layer::Join { others } => used.extend(others),
            _ => {}
        }
        for tensor in used {
            if !needed.contains(&tensor) {
                needed.push(tensor);
                step.done.push(tensor);
            }
        }
    }
}
