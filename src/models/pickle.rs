//! Python's pickles, read as data: whatever would run code is refused by name.
//!
//! In: bytes of protocols 0 to 5. Out: a [`Value`]. Of the functions that a pickle may call, those that build NumPy's
//! numbers and PyTorch's tensors are known, and nothing is ever called. Hostile bytes cost an error: sizes and depth are bounded.

use std::collections::HashMap;
use std::rc::Rc;

/// Deepest nesting: a checkpoint has six levels.
const MAX_DEPTH: u8 = 32;

/// Most values of one pickle, counted as they are made: an hour of boxes has half a million.
const MAX_VALUES: usize = 4 << 20;

/// Why bytes are no pickle for us.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// They end before the pickle does.
    #[error("is cut off")]
    Short,
    /// A pickle that asks for something that could run code.
    #[error("asks for {0}, which is not read: it could run code")]
    Forbidden(String),
    /// An instruction that nothing we read uses, or one that makes no sense where it stands.
    #[error("is no pickle that is understood: instruction {0:#04x} at byte {1}")]
    Instruction(u8, usize),
    /// Too much of something.
    #[error("is too large or too deeply nested")]
    TooLarge,
}

/// What a pickle holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `None`.
    None,
    /// `True`, `False`.
    Bool(bool),
    /// A whole number, of Python or NumPy.
    Int(i64),
    /// A number, of Python or NumPy.
    Float(f64),
    /// Text.
    Text(Rc<str>),
    /// Bytes.
    Bytes(Rc<[u8]>),
    /// A tuple, and what stands for objects: PyTorch's persistent ids.
    Tuple(Rc<[Self]>),
    /// A list.
    List(Vec<Self>),
    /// A dictionary in the order in which it was filled.
    Dict(Vec<(Self, Self)>),
    /// A type or a function by its full name, which is one of those below.
    Global(&'static str),
    /// `persistent_load(id)`: where a tensor's numbers lie.
    Persistent(Rc<Self>),
    /// What a known function was asked to build; its name and its arguments.
    Built(&'static str, Rc<[Self]>),
}

/// What may be named. All of these are read as what they stand for, none is called.
const KNOWN: &[&str] = &[
    "collections.OrderedDict",
    "_codecs.encode",
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy._core.multiarray._reconstruct",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
    "torch.Size",
    "torch.FloatStorage",
    "torch.HalfStorage",
    "torch.BFloat16Storage",
    "torch.DoubleStorage",
    "torch.LongStorage",
    "torch.IntStorage",
    "torch.ShortStorage",
    "torch.ByteStorage",
    "torch.CharStorage",
    "torch.BoolStorage",
];

impl Value {
    /// The whole number it is.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(n) => Some(*n),
            Self::Bool(b) => Some(i64::from(*b)),
            Self::Float(x) if x.fract() == 0.0 && x.abs() < 1e15 => Some(*x as i64),
            _ => None,
        }
    }

    /// The text it is.
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// What a list or a tuple holds.
    pub fn items(&self) -> Option<&[Self]> {
        match self {
            Self::List(items) => Some(items),
            Self::Tuple(items) => Some(items),
            _ => None,
        }
    }

    /// What a dictionary holds under `key`.
    pub fn get(&self, key: &str) -> Option<&Self> {
        let Self::Dict(pairs) = self else { return None };
        pairs.iter().find(|(name, _)| name.text() == Some(key)).map(|(_, value)| value)
    }
}

/// The pickle that `bytes` begin with, and how long it is.
pub fn read(bytes: &[u8]) -> Result<(Value, usize), Error> {
    let mut machine = Machine { bytes, at: 0, stack: Vec::new(), marks: Vec::new(), memo: HashMap::new(), made: 0 };
    let value = machine.run()?;
    Ok((value, machine.at))
}

/// A value and how deep it is.
#[derive(Clone, Debug)]
struct Item {
    value: Value,
    depth: u8,
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Item>,
    /// Where in the stack a mark lies.
    marks: Vec<usize>,
    /// Only what does not change: a list that is meant twice is refused when it is asked for again.
    memo: HashMap<usize, Option<Item>>,
    made: usize,
}

impl Machine<'_> {
    fn run(&mut self) -> Result<Value, Error> {
        loop {
            let (at, code) = (self.at, self.byte()?);
            if code == b'.' {
                return Ok(self.pop()?.value);
            }
            self.step(code).map_err(|error| match error {
                Some(error) => error,
                None => Error::Instruction(code, at),
            })?;
        }
    }

    /// `Err(None)`: the instruction makes no sense.
    fn step(&mut self, code: u8) -> Result<(), Option<Error>> {
        match code {
            // What frames and versions say is in the instructions, too.
            0x80 => drop(self.take(1)?),
            0x95 => drop(self.take(8)?),
            b'(' => self.marks.push(self.stack.len()),
            b'0' => drop(self.pop()?),
            b'1' => drop(self.marked()?),
            b'2' => self.again()?,
            b'N' => self.push(Value::None)?,
            0x88 => self.push(Value::Bool(true))?,
            0x89 => self.push(Value::Bool(false))?,
            b'J' | b'K' | b'M' | b'I' | b'L' | 0x8a => self.whole(code)?,
            b'G' => {
                let bytes = self.take(8)?.try_into().map_err(|_| None)?;
                self.push(Value::Float(f64::from_be_bytes(bytes)))?;
            }
            b'F' => {
                let number = self.line()?.parse().map_err(|_| None)?;
                self.push(Value::Float(number))?;
            }
            b'X' | 0x8c | 0x8d | b'T' | b'U' | b'B' | b'C' | 0x8e | b'V' => self.string(code)?,
            b']' | b')' | b'}' | b'l' | b't' | b'd' | 0x85..=0x87 => self.collection(code)?,
            b'a' | b'e' | b's' | b'u' => self.fill(code)?,
            b'c' => {
                let (module, name) = (self.line()?.to_owned(), self.line()?.to_owned());
                self.global(&module, &name)?;
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                let (Some(module), Some(name)) = (module.value.text(), name.value.text()) else { return Err(None) };
                self.global(module, name)?;
            }
            b'Q' => {
                let Item { value, depth } = self.pop()?;
                self.put(Value::Persistent(Rc::new(value)), depth + 1)?;
            }
            b'R' | 0x81 => self.reduce()?,
            b'b' => self.build()?,
            b'p' | b'q' | b'r' | 0x94 => {
                let place = self.place(code)?;
                self.remember(place)?;
            }
            b'g' | b'h' | b'j' => {
                let place = self.place(code)?;
                let item = self.memo.get(&place).cloned().flatten().ok_or(None)?;
                self.put(item.value, item.depth)?;
            }
            _ => return Err(None),
        }
        Ok(())
    }

    fn whole(&mut self, code: u8) -> Result<(), Option<Error>> {
        let number = match code {
            b'J' => i64::from(i32::from_le_bytes(self.take(4)?.try_into().map_err(|_| None)?)),
            b'K' => i64::from(self.byte()?),
            b'M' => i64::from(u16::from_le_bytes(self.take(2)?.try_into().map_err(|_| None)?)),
            0x8a => {
                let count = usize::from(self.byte()?);
                let bytes = self.take(count)?;
                // PyTorch's old magic number has ten bytes, and nobody asks for it.
                little_endian(bytes).unwrap_or_default()
            }
            _ => match self.line()?.trim_end_matches('L') {
                "00" if code == b'I' => return Ok(self.push(Value::Bool(false))?),
                "01" if code == b'I' => return Ok(self.push(Value::Bool(true))?),
                digits => digits.parse().map_err(|_| None)?,
            },
        };
        Ok(self.push(Value::Int(number))?)
    }

    fn string(&mut self, code: u8) -> Result<(), Option<Error>> {
        if code == b'V' {
            let text = Value::Text(self.line()?.into());
            return Ok(self.push(text)?);
        }
        let width = match code {
            0x8c | b'U' | b'C' => 1,
            0x8d | 0x8e => 8,
            _ => 4,
        };
        let count = self.take(width)?.iter().rev().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let bytes = self.take(usize::try_from(count).map_err(|_| Error::Short)?)?;
        let value = match code {
            b'B' | b'C' | 0x8e => Value::Bytes(bytes.into()),
            // Python 2's strings are text here, and where they are bytes their letters are Latin-1.
            b'T' | b'U' => Value::Text(bytes.iter().map(|byte| char::from(*byte)).collect::<String>().into()),
            _ => Value::Text(std::str::from_utf8(bytes).map_err(|_| None)?.into()),
        };
        Ok(self.push(value)?)
    }

    fn collection(&mut self, code: u8) -> Result<(), Option<Error>> {
        let items = match code {
            b']' | b')' | b'}' => Vec::new(),
            b'l' | b't' | b'd' => self.marked()?,
            _ => {
                let from = self.stack.len().checked_sub(usize::from(code - 0x84)).ok_or(None)?;
                self.stack.split_off(from)
            }
        };
        let depth = items.iter().map(|item| item.depth).max().unwrap_or(0) + 1;
        let values = items.into_iter().map(|item| item.value);
        let value = match code {
            b']' | b'l' => Value::List(values.collect()),
            b'}' | b'd' => Value::Dict(pairs(values)?),
            _ => Value::Tuple(values.collect()),
        };
        Ok(self.put(value, depth)?)
    }

    fn fill(&mut self, code: u8) -> Result<(), Option<Error>> {
        let items = match code {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.marked()?,
        };
        let deepest = items.iter().map(|item| item.depth).max().unwrap_or(0) + 1;
        let values = items.into_iter().map(|item| item.value);
        let below = self.stack.last_mut().ok_or(None)?;
        match &mut below.value {
            Value::List(list) if matches!(code, b'a' | b'e') => list.extend(values),
            Value::Dict(dict) if matches!(code, b's' | b'u') => dict.extend(pairs(values)?),
            _ => return Err(None),
        }
        below.depth = below.depth.max(deepest);
        if below.depth > MAX_DEPTH { Err(Some(Error::TooLarge)) } else { Ok(()) }
    }

    fn global(&mut self, module: &str, name: &str) -> Result<(), Error> {
        let full = format!("{module}.{name}");
        let known = KNOWN.iter().find(|known| **known == full).ok_or(Error::Forbidden(full))?;
        self.push(Value::Global(known))
    }

    /// What a known function makes of its arguments.
    fn reduce(&mut self) -> Result<(), Option<Error>> {
        let (args, function) = (self.pop()?, self.pop()?);
        let (Value::Tuple(items), Value::Global(name)) = (args.value, function.value) else { return Err(None) };
        let value = match (name, &*items) {
            ("collections.OrderedDict", []) => Value::Dict(Vec::new()),
            ("collections.OrderedDict", [Value::List(list)]) => {
                let pair = |value: &Value| match value.items() {
                    Some([key, value]) => Some((key.clone(), value.clone())),
                    _ => None,
                };
                Value::Dict(list.iter().map(pair).collect::<Option<_>>().ok_or(None)?)
            }
            ("_codecs.encode", [Value::Text(text), ..]) => {
                let bytes = text.chars().map(|c| u8::try_from(u32::from(c)));
                Value::Bytes(bytes.collect::<Result<Vec<_>, _>>().map_err(|_| None)?.into())
            }
            ("numpy.dtype", [Value::Text(kind), ..]) => Value::Text(Rc::clone(kind)),
            ("torch.Size", [value]) | ("torch._utils._rebuild_parameter", [value, ..]) => value.clone(),
            (scalar, [Value::Text(kind), Value::Bytes(bytes)]) if scalar.ends_with("multiarray.scalar") => {
                number(kind, bytes).ok_or(None)?
            }
            (name, _) => Value::Built(name, items),
        };
        Ok(self.put(value, args.depth.saturating_add(1))?)
    }

    /// What is told to an object once it is there.
    fn build(&mut self) -> Result<(), Option<Error>> {
        let state = self.pop()?;
        let object = self.stack.last_mut().ok_or(None)?;
        let array = matches!(&object.value, Value::Built(name, _) if name.ends_with("_reconstruct"));
        match (&object.value, state.value.items()) {
            // The byte order and so on of a NumPy type; ours are little-endian or do not matter.
            (Value::Text(_), Some([_, Value::Text(order), ..])) if &**order == ">" => return Err(None),
            // Attributes of a dictionary are notes for PyTorch.
            (Value::Text(_) | Value::Dict(_), _) => {}
            (_, Some([_, shape, Value::Text(kind), Value::Bool(false), Value::Bytes(bytes)])) if array => {
                let width = width(kind).ok_or(None)?;
                let numbers = bytes.chunks_exact(width).map(|bytes| number(kind, bytes));
                let numbers = numbers.collect::<Option<Vec<_>>>().ok_or(None)?;
                let shape = shape.items().ok_or(None)?.iter().map(Value::int).collect::<Option<Vec<_>>>().ok_or(None)?;
                object.value = match shape[..] {
                    [_] => Value::Tuple(numbers.into()),
                    // Rows of a table.
                    [_, columns] if columns > 0 => {
                        Value::List(numbers.chunks(columns as usize).map(|row| Value::Tuple(row.into())).collect())
                    }
                    _ => return Err(None),
                };
                object.depth = 2;
            }
            _ => return Err(None),
        }
        Ok(())
    }

    fn place(&mut self, code: u8) -> Result<usize, Option<Error>> {
        Ok(match code {
            b'q' | b'h' => usize::from(self.byte()?),
            b'r' | b'j' => u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| None)?) as usize,
            b'p' | b'g' => self.line()?.parse().map_err(|_| None)?,
            _ => self.memo.len(),
        })
    }

    fn remember(&mut self, place: usize) -> Result<(), Error> {
        let item = self.stack.last().ok_or(Error::Short)?;
        let fixed = !matches!(item.value, Value::List(_) | Value::Dict(_));
        let item = fixed.then(|| item.clone());
        self.memo.insert(place, item);
        self.count()
    }

    fn again(&mut self) -> Result<(), Option<Error>> {
        let top = self.stack.last().ok_or(None)?;
        if matches!(top.value, Value::List(_) | Value::Dict(_)) {
            return Err(None);
        }
        let Item { value, depth } = top.clone();
        Ok(self.put(value, depth)?)
    }

    fn push(&mut self, value: Value) -> Result<(), Error> {
        self.put(value, 0)
    }

    fn put(&mut self, value: Value, depth: u8) -> Result<(), Error> {
        if depth > MAX_DEPTH {
            return Err(Error::TooLarge);
        }
        self.stack.push(Item { value, depth });
        self.count()
    }

    fn count(&mut self) -> Result<(), Error> {
        self.made += 1;
        if self.made > MAX_VALUES { Err(Error::TooLarge) } else { Ok(()) }
    }

    fn pop(&mut self) -> Result<Item, Error> {
        self.stack.pop().ok_or(Error::Short)
    }

    /// What lies above the last mark, and the mark.
    fn marked(&mut self) -> Result<Vec<Item>, Error> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len()).ok_or(Error::Short)?;
        Ok(self.stack.split_off(mark))
    }

    fn byte(&mut self) -> Result<u8, Error> {
        Ok(self.take(1)?[0])
    }

    fn take(&mut self, count: usize) -> Result<&[u8], Error> {
        let bytes = self.bytes.get(self.at..).and_then(|rest| rest.get(..count)).ok_or(Error::Short)?;
        self.at += count;
        Ok(bytes)
    }

    fn line(&mut self) -> Result<&str, Error> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n').ok_or(Error::Short)?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map(str::trim_end).map_err(|_| Error::Short)
    }
}

/// Keys and values by turns.
fn pairs(values: impl Iterator<Item = Value>) -> Result<Vec<(Value, Value)>, Option<Error>> {
    let mut values = values.collect::<Vec<_>>().into_iter();
    let mut pairs = Vec::with_capacity(values.len() / 2);
    while let Some(key) = values.next() {
        pairs.push((key, values.next().ok_or(None)?));
    }
    Ok(pairs)
}

/// Bytes of one number of a NumPy type.
fn width(kind: &str) -> Option<usize> {
    let digits = kind.trim_start_matches(['<', '|', '=']).get(1..)?;
    digits.parse().ok().filter(|width| (1..=8).contains(width))
}

/// A number of a NumPy type (`i4`, `u1`, `f8`), little-endian.
fn number(kind: &str, bytes: &[u8]) -> Option<Value> {
    let kind = kind.trim_start_matches(['<', '|', '=']);
    if width(kind)? != bytes.len() {
        return None;
    }
    match (&kind[..1], bytes.len()) {
        ("i", _) => little_endian(bytes).map(Value::Int),
        ("u" | "b", 1..=4) => little_endian(&[bytes, &[0]].concat()).map(Value::Int),
        ("f", 4) => Some(Value::Float(f64::from(f32::from_le_bytes(bytes.try_into().ok()?)))),
        ("f", 8) => Some(Value::Float(f64::from_le_bytes(bytes.try_into().ok()?))),
        _ => None,
    }
}

/// Two's complement of at most eight bytes.
fn little_endian(bytes: &[u8]) -> Option<i64> {
    let mut wide = [if bytes.last().is_some_and(|last| *last >= 0x80) { 0xFF } else { 0 }; 8];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i64::from_le_bytes(wide))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ints(value: &Value) -> Vec<Vec<i64>> {
        value.items().unwrap().iter().map(|row| row.items().unwrap().iter().filter_map(Value::int).collect()).collect()
    }

    #[test]
    fn boxes_of_every_protocol_and_of_numpy_are_the_same_boxes() {
        // scripts/wav2lip/pickles.py writes them.
        let pickles: &[(&str, &[u8])] = &[
            ("protocol 0", include_bytes!("../../tests/corpus/wav2lip/coords-0.pkl")),
            ("protocol 2", include_bytes!("../../tests/corpus/wav2lip/coords-2.pkl")),
            ("protocol 4", include_bytes!("../../tests/corpus/wav2lip/coords-4.pkl")),
            ("NumPy's numbers", include_bytes!("../../tests/corpus/wav2lip/coords-numpy.pkl")),
            ("a NumPy array", include_bytes!("../../tests/corpus/wav2lip/coords-array.pkl")),
        ];
        for (name, bytes) in pickles {
            let (value, length) = read(bytes).unwrap();
            assert_eq!(length, bytes.len(), "{name}");
            assert_eq!(ints(&value), [[10, 300, 20, 280], [11, 301, -3, 70_000]], "{name}");
        }
    }

    #[test]
    fn a_pickle_that_would_run_a_command_is_refused_by_name() {
        for pickle in [
            &b"cos\nsystem\n(S'true'\ntR."[..],
            b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",
            b"cbuiltins\neval\n(V1\ntR.",
            b"cnumpy.core.multiarray\nfromfile\n)R.",
        ] {
            assert!(matches!(read(pickle), Err(Error::Forbidden(_))), "{:?}", read(pickle));
        }
        let error = read(b"cos\nsystem\n.").unwrap_err().to_string();
        assert!(error.contains("os.system"), "{error}");
    }

    #[test]
    fn depth_and_lies_about_length_are_errors() {
        let deep = [vec![b')'; 1], vec![0x85; 5_000], vec![b'.']].concat();
        assert_eq!(read(&deep), Err(Error::TooLarge));
        let lists = [vec![b']'; 5_000], vec![b'a'; 4_999], vec![b'.']].concat();
        assert_eq!(read(&lists), Err(Error::TooLarge));
        assert_eq!(read(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffx."), Err(Error::Short));
        assert_eq!(read(b"("), Err(Error::Short));
        // A tuple of twice itself, forty times over, is small here and would be a terabyte copied.
        let mut doubled = b")".to_vec();
        (0..30).for_each(|_| doubled.extend(*b"2\x86"));
        doubled.push(b'.');
        assert!(read(&doubled).is_ok());
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }

        #[test]
        fn no_damage_to_a_pickle_panics(at in 0_usize..500, byte: u8) {
            let mut bytes = include_bytes!("../../tests/corpus/wav2lip/coords-array.pkl").to_vec();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = read(&bytes);
        }
    }
}
