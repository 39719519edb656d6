//! Writes ONNX files: the few messages of protobuf that a network of convolutions needs (onnx.proto3, IR version 8, opset 13).

/// f32 in a `TensorProto`.
const FLOAT: u64 = 1;

/// A network that is being written down, operation by operation.
#[derive(Default)]
pub(super) struct Graph {
    bytes: Vec<u8>,
    names: usize,
}

/// A tensor between operations: its name.
pub(super) type Edge = String;

/// A convolution's settings: kernel, step and rim, down and across; `None`: forwards, else backwards with so many more pixels;
/// how many parts the channels are in, which do not see one another.
#[derive(Clone, Copy)]
pub(super) struct Convolution {
    pub(super) kernel: [u64; 2],
    pub(super) step: [u64; 2],
    pub(super) rim: u64,
    pub(super) backwards: Option<u64>,
    pub(super) groups: u64,
}

/// The weights of attention, and the sides of its convolution.
pub(super) struct AttentionWeight {
    pub(super) edge: Edge,
    pub(super) side: u64,
}

impl Graph {
    pub(super) fn input(&mut self, name: &str, shape: &[u64]) -> Edge {
        let info = value_info(name, shape);
        self.bytes.extend(field(11, &info));
        name.to_owned()
    }

    pub(super) fn output(&mut self, edge: &str, shape: &[u64]) {
        let info = value_info(edge, shape);
        self.bytes.extend(field(12, &info));
    }

    /// Constants.
    pub(super) fn weights(&mut self, shape: &[usize], values: &[f32]) -> Edge {
        let name = self.name();
        let mut tensor: Vec<u8> = shape.iter().flat_map(|side| number(1, *side as u64)).collect();
        tensor.extend(number(2, FLOAT));
        tensor.extend(field(8, name.as_bytes()));
        tensor.extend(field(9, bytemuck::cast_slice(values)));
        self.bytes.extend(field(5, &tensor));
        name
    }

    /// `inputs` are a tensor, weights, and what is added to each channel.
    pub(super) fn convolution(&mut self, inputs: [&str; 3], of: Convolution) -> Edge {
        let mut attributes = vec![ints("kernel_shape", &of.kernel), ints("strides", &of.step), ints("pads", &[of.rim; 4])];
        if of.groups > 1 {
            attributes.push(int("group", of.groups));
        }
        if let Some(more) = of.backwards {
            attributes.push(ints("output_padding", &[more; 2]));
        }
        self.node(if of.backwards.is_some() { "ConvTranspose" } else { "Conv" }, &inputs, &attributes)
    }

    pub(super) fn add(&mut self, a: &str, b: &str) -> Edge {
        self.node("Add", &[a, b], &[])
    }

    pub(super) fn relu(&mut self, edge: &str) -> Edge {
        self.node("Relu", &[edge], &[])
    }

    pub(super) fn sigmoid(&mut self, edge: &str) -> Edge {
        self.node("Sigmoid", &[edge], &[])
    }

    /// The channels of `a`, then those of `b`.
    pub(super) fn join(&mut self, a: &str, b: &str) -> Edge {
        self.node("Concat", &[a, b], &[int("axis", 1)])
    }

    /// Twice as large, with what lies between in between; corners stay corners.
    pub(super) fn doubled(&mut self, edge: &str) -> Edge {
        let scales = self.weights(&[4], &[1.0, 1.0, 2.0, 2.0]);
        let how = [text("mode", "linear"), text("coordinate_transformation_mode", "align_corners")];
        self.node("Resize", &[edge, "", &scales], &how)
    }

    /// What is `drawn`, and as much of it again as the mean and the most of what is `seen` at each point make it worth.
    pub(super) fn attend(&mut self, drawn: &str, seen: &str, weight: &AttentionWeight) -> Edge {
        let channels = [ints("axes", &[1]), int("keepdims", 1)];
        let mean = self.node("ReduceMean", &[seen], &channels);
        let most = self.node("ReduceMax", &[seen], &channels);
        let both = self.join(&mean, &most);
        let shape = [ints("kernel_shape", &[weight.side; 2]), ints("pads", &[weight.side / 2; 4])];
        let share = self.node("Conv", &[&both, &weight.edge], &shape);
        let share = self.sigmoid(&share);
        let more = self.node("Mul", &[drawn, &share], &[]);
        self.add(&more, drawn)
    }

    /// The file.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend(field(2, b"lips"));
        // OperatorSetIdProto: the standard operations, version 13.
        let opset = number(2, 13);
        [number(1, 8), field(2, b"visavis"), field(8, &opset), field(7, &self.bytes)].concat()
    }

    fn node(&mut self, kind: &str, inputs: &[&str], attributes: &[Vec<u8>]) -> Edge {
        let output = self.name();
        let mut node: Vec<u8> = inputs.iter().flat_map(|input| field(1, input.as_bytes())).collect();
        node.extend(field(2, output.as_bytes()));
        node.extend(field(4, kind.as_bytes()));
        node.extend(attributes.iter().flat_map(|attribute| field(5, attribute)));
        self.bytes.extend(field(1, &node));
        output
    }

    fn name(&mut self) -> String {
        self.names += 1;
        format!("t{}", self.names)
    }
}

/// `AttributeProto`: name, i, type INT.
fn int(name: &str, value: u64) -> Vec<u8> {
    [field(1, name.as_bytes()), number(3, value), number(20, 2)].concat()
}

/// `AttributeProto`: name, s, type STRING.
fn text(name: &str, value: &str) -> Vec<u8> {
    [field(1, name.as_bytes()), field(4, value.as_bytes()), number(20, 3)].concat()
}

/// `AttributeProto`: name, ints, type INTS.
fn ints(name: &str, values: &[u64]) -> Vec<u8> {
    let values = values.iter().flat_map(|value| number(8, *value));
    [field(1, name.as_bytes()), values.collect(), number(20, 7)].concat()
}

/// `ValueInfoProto` of f32 whose first size is however many there are.
fn value_info(name: &str, shape: &[u64]) -> Vec<u8> {
    let any = field(1, &field(2, b"batch"));
    let sides = shape.iter().flat_map(|side| field(1, &number(1, *side)));
    let shape = [any, sides.collect()].concat();
    let tensor = [number(1, FLOAT), field(2, &shape)].concat();
    [field(1, name.as_bytes()), field(2, &field(1, &tensor))].concat()
}

/// A field that is a number.
fn number(field: u64, value: u64) -> Vec<u8> {
    [varint(field << 3), varint(value)].concat()
}

/// A field that is bytes: a text, a message, packed numbers.
fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = varint(number << 3 | 2);
    out.extend(varint(bytes.len() as u64));
    out.extend_from_slice(bytes);
    out
}

fn varint(mut value: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
    out
}
