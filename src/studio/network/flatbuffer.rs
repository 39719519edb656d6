//! Reading a `FlatBuffer`: tables whose fields are found by offsets within the file.
//!
//! Every offset is checked before it is followed, so that a damaged or hostile file is an error and never a panic. Pure.

/// The file says something about itself that cannot be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken;

/// A table of the file: a record whose fields may be absent.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Where its field offsets lie, and where they end.
    fields: (usize, usize),
}

fn word<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N], Broken> {
    bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Broken)
}

/// The place that the unsigned offset at `at` points to.
fn follow(bytes: &[u8], at: usize) -> Result<usize, Broken> {
    let offset = u32::from_le_bytes(word(bytes, at)?) as usize;
    at.checked_add(offset).filter(|place| *place < bytes.len()).ok_or(Broken)
}

/// Where a vector's first element lies and how many there are, each of `size` bytes.
fn vector(bytes: &[u8], at: usize, size: usize) -> Result<(usize, usize), Broken> {
    let count = u32::from_le_bytes(word(bytes, at)?) as usize;
    let length = count.checked_mul(size).ok_or(Broken)?;
    let first = at + 4;
    if bytes.len() - first < length { Err(Broken) } else { Ok((first, count)) }
}

impl<'a> Table<'a> {
    /// The table that the file is about.
    pub(super) fn root(bytes: &'a [u8]) -> Result<Self, Broken> {
        Self::at(bytes, follow(bytes, 0)?)
    }

    fn at(bytes: &'a [u8], at: usize) -> Result<Self, Broken> {
        let back = i32::from_le_bytes(word(bytes, at)?);
        let start = (at as i64).checked_sub(i64::from(back)).and_then(|v| usize::try_from(v).ok()).ok_or(Broken)?;
        let length = u16::from_le_bytes(word(bytes, start)?) as usize;
        let end = start.checked_add(length).filter(|end| *end <= bytes.len() && length >= 4).ok_or(Broken)?;
        Ok(Self { bytes, at, fields: (start + 4, end) })
    }

    /// Where field `n` lies; `None` if it is absent and so has its default.
    fn field(&self, n: usize) -> Result<Option<usize>, Broken> {
        let entry = self.fields.0 + 2 * n;
        if entry + 2 > self.fields.1 {
            return Ok(None);
        }
        match u16::from_le_bytes(word(self.bytes, entry)?) {
            0 => Ok(None),
            offset => Ok(Some(self.at + offset as usize)),
        }
    }

    /// A number of one byte; 0 if absent.
    pub(super) fn byte(&self, n: usize) -> Result<u8, Broken> {
        let at = self.field(n)?;
        at.map_or(Ok(0), |at| self.bytes.get(at).copied().ok_or(Broken))
    }

    /// A number of four bytes.
    pub(super) fn int(&self, n: usize, default: i32) -> Result<i32, Broken> {
        self.field(n)?.map_or(Ok(default), |at| Ok(i32::from_le_bytes(word(self.bytes, at)?)))
    }

    /// A table within; `None` if absent.
    pub(super) fn table(&self, n: usize) -> Result<Option<Self>, Broken> {
        self.field(n)?.map(|at| Self::at(self.bytes, follow(self.bytes, at)?)).transpose()
    }

    /// A list of tables; empty if absent.
    pub(super) fn tables(&self, n: usize) -> Result<Vec<Self>, Broken> {
        let Some(at) = self.field(n)? else { return Ok(Vec::new()) };
        let (first, count) = vector(self.bytes, follow(self.bytes, at)?, 4)?;
        (0..count).map(|k| Self::at(self.bytes, follow(self.bytes, first + 4 * k)?)).collect()
    }

    /// A list of numbers; empty if absent.
    pub(super) fn ints(&self, n: usize) -> Result<Vec<i32>, Broken> {
        let Some(at) = self.field(n)? else { return Ok(Vec::new()) };
        let (first, count) = vector(self.bytes, follow(self.bytes, at)?, 4)?;
        (0..count).map(|k| Ok(i32::from_le_bytes(word(self.bytes, first + 4 * k)?))).collect()
    }

    /// Bytes; none if absent.
    pub(super) fn bytes(&self, n: usize) -> Result<&'a [u8], Broken> {
        let Some(at) = self.field(n)? else { return Ok(&[]) };
        let (first, count) = vector(self.bytes, follow(self.bytes, at)?, 1)?;
        Ok(&self.bytes[first..first + count])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_that_leave_the_file_are_errors() {
        assert!(Table::root(&[]).is_err());
        assert!(Table::root(&[255, 255, 255, 255]).is_err());
        // A root whose list of fields would begin before the file.
        assert!(Table::root(&[4, 0, 0, 0, 255, 255, 255, 127]).is_err());
    }

    #[test]
    fn a_field_that_is_absent_has_its_default() {
        // Root at 8, whose list of fields (4 bytes of head, none listed) lies at 4.
        let file = [8, 0, 0, 0, 4, 0, 4, 0, 4, 0, 0, 0];
        let table = Table::root(&file).unwrap();
        assert_eq!((table.int(3, 7), table.byte(0)), (Ok(7), Ok(0)));
        assert!(table.tables(1).unwrap().is_empty() && table.bytes(2).unwrap().is_empty());
    }
}
