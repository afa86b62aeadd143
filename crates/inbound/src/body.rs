//! Content becomes the chunks that are stored: at most 1 MiB each, compressed where that pays. Not responsible for
//! where chunks go.

use std::cell::RefCell;

use bytes::Bytes;
use mailtier_types::BodyEncoding;
use zstd::bulk::Compressor;

/// What a chunk holds before compression, in octets, apart from our Received field, so that no stored chunk is larger
/// than 1 MiB.
pub(crate) const CHUNK_OCTETS: usize = (1 << 20) - RECEIVED_OCTETS;
/// Room for the Received field of the first chunk.
const RECEIVED_OCTETS: usize = 4096;
/// Smaller bodies cost more to compress than to store.
const LEAST_OCTETS: usize = 512;
/// The level that is cheapest; a better one would cost the tier more than it saves the database.
const LEVEL: i32 = 1;

thread_local! {
    /// A compressor and the buffer it writes to, both kept: their set-up costs more than a small body.
    static COMPRESSOR: RefCell<Option<(Compressor<'static>, Vec<u8>)>> = const { RefCell::new(None) };
}

/// The library has no memory, or a bug.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a chunk could not be compressed")]
pub(crate) struct CompressorFailed;

/// Collects content and hands it out in chunks.
#[derive(Debug, Default)]
pub(crate) struct BodyChunks {
    gathered: Vec<u8>,
    /// Decided by the first chunk for all.
    encoding: Option<BodyEncoding>,
    size_bytes: u64,
}

impl BodyChunks {
    /// Adds content, up to a whole chunk; says how much was taken.
    pub(crate) fn gather(&mut self, content: &[u8]) -> usize {
        let room = CHUNK_OCTETS.saturating_sub(self.gathered.len()).min(content.len());
        self.gathered.extend_from_slice(content.get(..room).unwrap_or_default());
        room
    }

    /// What the next chunk will hold.
    pub(crate) fn gathered(&self) -> &[u8] {
        &self.gathered
    }

    /// What was gathered as a chunk, with `prefix` before it.
    ///
    /// # Errors
    /// The compressor failed, after earlier chunks were compressed.
    pub(crate) fn seal(&mut self, prefix: &[u8]) -> Result<Bytes, CompressorFailed> {
        let gathered = std::mem::take(&mut self.gathered);
        let raw = if prefix.is_empty() { gathered } else { [prefix, &gathered].concat() };
        self.size_bytes += raw.len() as u64;
        match self.encoding {
            Some(BodyEncoding::Identity) => Ok(Bytes::from(raw)),
            Some(BodyEncoding::Zstd) => compress(&raw).ok_or(CompressorFailed),
            None => {
                let is_worth_trying = raw.len() >= LEAST_OCTETS;
                let compressed = if is_worth_trying { compress(&raw) } else { None };
                let paid = compressed.filter(|chunk| pays(raw.len(), chunk.len()));
                self.encoding = Some(if paid.is_some() { BodyEncoding::Zstd } else { BodyEncoding::Identity });
                Ok(paid.unwrap_or_else(|| Bytes::from(raw)))
            }
        }
    }

    /// How the chunks handed out are encoded.
    pub(crate) fn encoding(&self) -> BodyEncoding {
        self.encoding.unwrap_or_default()
    }

    /// Octets before encoding, of the chunks handed out.
    pub(crate) const fn size_bytes(&self) -> u64 {
        self.size_bytes
    }
}

/// An eighth saved is worth the work at both ends; attachments that are compressed already do not save it.
const fn pays(raw: usize, compressed: usize) -> bool {
    compressed <= raw - raw / 8
}

/// One zstd frame.
fn compress(raw: &[u8]) -> Option<Bytes> {
    COMPRESSOR.with_borrow_mut(|kept| {
        if kept.is_none() {
            *kept = Some((Compressor::new(LEVEL).ok()?, Vec::new()));
        }
        let (compressor, buffer) = kept.as_mut()?;
        buffer.clear();
        buffer.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        compressor.compress_to_buffer(raw, buffer).ok()?;
        Some(Bytes::copy_from_slice(buffer))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes content through in pieces and puts the chunks together again.
    fn round_trip(prefix: &[u8], content: &[u8]) -> (Vec<Bytes>, BodyEncoding, Vec<u8>) {
        let (mut body, mut chunks, mut rest) = (BodyChunks::default(), Vec::new(), content);
        loop {
            rest = &rest[body.gather(rest)..];
            let is_last = rest.is_empty();
            chunks.push(body.seal(if chunks.is_empty() { prefix } else { b"" }).unwrap());
            if is_last {
                break;
            }
        }
        let restored = chunks.iter().flat_map(|chunk| match body.encoding() {
            BodyEncoding::Identity => chunk.to_vec(),
            BodyEncoding::Zstd => zstd::bulk::decompress(chunk, 1 << 20).unwrap(),
        });
        let restored: Vec<u8> = restored.collect();
        assert_eq!(body.size_bytes(), restored.len() as u64);
        (chunks, body.encoding(), restored)
    }

    fn noise(octets: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..octets).map(next).collect()
    }

    #[test]
    fn text_is_compressed_and_small_or_random_content_is_not() {
        let text = b"It is a truth universally acknowledged.\r\n".repeat(100);
        for (content, encoding) in [
            (text.clone(), BodyEncoding::Zstd),
            (text[..200].to_vec(), BodyEncoding::Identity),
            (noise(100_000), BodyEncoding::Identity),
            (Vec::new(), BodyEncoding::Identity),
        ] {
            let (chunks, chosen, restored) = round_trip(b"Received: x\r\n", &content);
            assert_eq!(chosen, encoding, "{} octets", content.len());
            assert_eq!(restored, [b"Received: x\r\n", &content[..]].concat());
            assert_eq!(chunks.len(), 1);
        }
    }

    #[test]
    fn large_content_becomes_chunks_of_a_mebibyte() {
        let mixed = [b"text text text\r\n".repeat(100_000), noise(2_000_000)].concat();
        let (chunks, encoding, restored) = round_trip(&[b'r'; RECEIVED_OCTETS], &mixed);
        assert_eq!((chunks.len(), encoding), (4, BodyEncoding::Zstd));
        assert_eq!(restored.len(), RECEIVED_OCTETS + mixed.len());
        assert_eq!(restored[RECEIVED_OCTETS..], mixed);
        let (chunks, encoding, restored) = round_trip(b"r", &noise(CHUNK_OCTETS + 1));
        assert_eq!((chunks.len(), encoding, restored.len()), (2, BodyEncoding::Identity, CHUNK_OCTETS + 2));
        assert!(chunks.iter().all(|chunk| chunk.len() <= 1 << 20));
    }
}
