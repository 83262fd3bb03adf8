//! The bytes under `/data`: asked for chunk by chunk, a few kept.

use crate::job::Input;

/// Chunks kept, over all inputs.
const CHUNKS_KEPT: usize = 4;

/// A chunk could not be had. The run cannot go on; who holds the inputs knows why.
#[derive(Debug)]
pub(crate) struct ChunkFailed;

/// Whoever has the chunks.
pub(crate) trait ChunkSource {
    /// Fills `into`, which has exactly the chunk's length.
    fn fetch(&mut self, input: usize, index: u64, into: &mut [u8]) -> Result<(), ChunkFailed>;
}

/// Random access over chunks.
pub(crate) struct InputReader {
    source: Box<dyn ChunkSource>,
    inputs: Vec<Input>,
    /// The least recently used first.
    kept: Vec<Kept>,
}

struct Kept {
    input: usize,
    index: u64,
    bytes: Vec<u8>,
}

impl InputReader {
    pub(crate) fn new(inputs: Vec<Input>, source: Box<dyn ChunkSource>) -> Self {
        Self { source, inputs, kept: Vec::with_capacity(CHUNKS_KEPT) }
    }

    /// Reads as much as there is from `offset` on, at most `into.len()` bytes.
    pub(crate) fn read(&mut self, input: usize, offset: u64, into: &mut [u8]) -> Result<usize, ChunkFailed> {
        let Input { bytes, chunk_bytes, .. } = self.inputs[input];
        let chunk_bytes = u64::from(chunk_bytes);
        let mut done = 0;
        while done < into.len() {
            let position = offset.saturating_add(done as u64);
            if position >= bytes {
                break;
            }
            let chunk = self.chunk(input, position / chunk_bytes)?;
            // Less than `chunk_bytes`, which is a u32.
            let rest = &chunk[(position % chunk_bytes) as usize..];
            let length = rest.len().min(into.len() - done);
            into[done..done + length].copy_from_slice(&rest[..length]);
            done += length;
        }
        Ok(done)
    }

    fn chunk(&mut self, input: usize, index: u64) -> Result<&[u8], ChunkFailed> {
        let kept = match self.kept.iter().position(|kept| kept.input == input && kept.index == index) {
            Some(found) => self.kept.remove(found),
            None => self.fetch(input, index)?,
        };
        self.kept.push(kept);
        Ok(&self.kept[self.kept.len() - 1].bytes)
    }

    fn fetch(&mut self, input: usize, index: u64) -> Result<Kept, ChunkFailed> {
        let length = self.inputs[input].chunk_length(index).ok_or(ChunkFailed)?;
        let mut bytes = if self.kept.len() < CHUNKS_KEPT { Vec::new() } else { self.kept.remove(0).bytes };
        bytes.resize(length, 0);
        self.source.fetch(input, index, &mut bytes)?;
        Ok(Kept { input, index, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Chunk `index` of input `input` is filled with bytes that name both; counts how often it is asked.
    struct Pattern(std::rc::Rc<std::cell::Cell<usize>>);

    impl ChunkSource for Pattern {
        fn fetch(&mut self, input: usize, index: u64, into: &mut [u8]) -> Result<(), ChunkFailed> {
            self.0.set(self.0.get() + 1);
            into.fill((16 * input) as u8 + index as u8);
            Ok(())
        }
    }

    fn reader(bytes: u64) -> (InputReader, std::rc::Rc<std::cell::Cell<usize>>) {
        let asked = std::rc::Rc::new(std::cell::Cell::new(0));
        let input = |name: &str| Input { name: name.into(), bytes, chunk_bytes: 4 };
        (InputReader::new(vec![input("a"), input("b")], Box::new(Pattern(asked.clone()))), asked)
    }

    #[test]
    fn a_read_crosses_chunks_and_stops_at_the_end() {
        let (mut reader, _) = reader(10);
        let mut bytes = [255; 16];
        assert_eq!(reader.read(1, 2, &mut bytes).expect("readable"), 8);
        assert_eq!(bytes[..8], [16, 16, 17, 17, 17, 17, 18, 18]);
        assert_eq!(reader.read(1, 10, &mut bytes).expect("readable"), 0);
        assert_eq!(reader.read(1, u64::MAX, &mut bytes).expect("readable"), 0);
    }

    #[test]
    fn a_chunk_is_asked_for_once_while_it_is_in_use() {
        let (mut reader, asked) = reader(100);
        for offset in 0..100 {
            reader.read(0, offset, &mut [0]).expect("readable");
            reader.read(1, offset, &mut [0]).expect("readable");
        }
        assert_eq!(asked.get(), 50);
    }
}
