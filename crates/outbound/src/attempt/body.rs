//! The content of a message as it is sent: fetched where it did not travel with its delivery, decompressed, and counted
//! against a budget. Not responsible for what is in it.

use std::cell::RefCell;
use std::sync::Arc;

use bytes::Bytes;
use mailtier_types::{BodyEncoding, Options};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use zstd::bulk::Decompressor;

/// The budget is counted in units of this many octets.
const BUDGET_UNIT: u64 = 4096;
/// Larger contents are decompressed off the threads that move everyone's octets.
const LARGE_CONTENT_BYTES: u64 = 2 << 20;

/// Why there is no content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BodyError {
    /// The chunks are not what the envelope says they are.
    #[error("the stored body cannot be read: {reason}")]
    Damaged {
        /// In which way.
        reason: String,
    },
    /// No queue replica gave it.
    #[error("the stored body could not be fetched: {reason}")]
    Unavailable {
        /// What happened.
        reason: String,
    },
}

/// How many octets of contents may be in memory at a time.
#[derive(Clone, Debug)]
pub(crate) struct BodyBudget {
    units: Arc<Semaphore>,
    total: u32,
}

impl BodyBudget {
    /// A budget of so many octets.
    pub(crate) fn new(octets: u64) -> Self {
        let total = u32::try_from(octets.div_ceil(BUDGET_UNIT)).unwrap_or(u32::MAX >> 1).max(1);
        Self { units: Arc::new(Semaphore::new(usize::try_from(total).unwrap_or(Semaphore::MAX_PERMITS))), total }
    }

    /// Waits for room for a content of this size. One larger than the whole budget gets all of it.
    pub(crate) async fn reserve(&self, size_bytes: u64) -> Option<OwnedSemaphorePermit> {
        let units = u32::try_from(size_bytes.div_ceil(BUDGET_UNIT)).unwrap_or(u32::MAX).min(self.total);
        Arc::clone(&self.units).acquire_many_owned(units).await.ok()
    }
}

/// Decodes stored chunks.
///
/// # Errors
/// [`BodyError::Damaged`] unless they decode to exactly the size that the options name; never more is allocated.
pub(crate) async fn content(stored: Vec<Bytes>, options: &Options) -> Result<Vec<Bytes>, BodyError> {
    let (encoding, size_bytes) = (options.encoding, options.size_bytes);
    if encoding == BodyEncoding::Identity || size_bytes <= LARGE_CONTENT_BYTES {
        return decode(stored, encoding, size_bytes);
    }
    let decoding = tokio::task::spawn_blocking(move || decode(stored, encoding, size_bytes));
    decoding.await.map_err(|error| BodyError::Damaged { reason: error.to_string() })?
}

fn decode(stored: Vec<Bytes>, encoding: BodyEncoding, size_bytes: u64) -> Result<Vec<Bytes>, BodyError> {
    let size = usize::try_from(size_bytes).map_err(|_| damaged("too large for this machine"))?;
    let chunks = match encoding {
        BodyEncoding::Identity => stored,
        BodyEncoding::Zstd => decompress(stored, size)?,
    };
    let found: usize = chunks.iter().map(Bytes::len).sum();
    if found == size { Ok(chunks) } else { Err(damaged(&format!("{found} octets where there should be {size}"))) }
}

/// Each chunk is a frame of its own, and goes as soon as it is decoded. What they may decode to is bounded by what each
/// says of itself, and by what is left of the whole.
fn decompress(stored: Vec<Bytes>, size: usize) -> Result<Vec<Bytes>, BodyError> {
    thread_local! {
        /// Made once a thread: setting one up costs more than a small message.
        static DECOMPRESSOR: RefCell<Option<Decompressor<'static>>> = const { RefCell::new(None) };
    }
    let mut left = size;
    DECOMPRESSOR.with_borrow_mut(|slot| {
        let decompressor = match slot {
            Some(decompressor) => decompressor,
            None => slot.insert(Decompressor::new().map_err(|error| damaged(&error.to_string()))?),
        };
        let mut chunks = Vec::with_capacity(stored.len());
        for chunk in stored {
            let decoded = decompressor
                .decompress(&chunk, decoded_octets(&chunk, left))
                .map_err(|error| damaged(&error.to_string()))?;
            left -= decoded.len();
            chunks.push(Bytes::from(decoded));
        }
        Ok(chunks)
    })
}

/// The room for a chunk: so much is allocated at once, and kept.
fn decoded_octets(chunk: &[u8], left: usize) -> usize {
    let said = zstd::zstd_safe::get_frame_content_size(chunk).ok().flatten();
    said.and_then(|octets| usize::try_from(octets).ok()).unwrap_or(left).min(left)
}

fn damaged(reason: &str) -> BodyError {
    BodyError::Damaged { reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(encoding: BodyEncoding, size_bytes: usize) -> Options {
        Options { encoding, size_bytes: size_bytes as u64, ..Options::default() }
    }

    fn frame(content: &[u8]) -> Bytes {
        zstd::bulk::compress(content, 1).unwrap().into()
    }

    #[tokio::test]
    async fn chunks_come_out_as_they_went_in() {
        let text = b"Subject: hello\r\n\r\ntext\r\n".repeat(1000);
        let (one, two) = text.split_at(7777);
        let stored = vec![frame(one), frame(two)];
        let content = content(stored, &options(BodyEncoding::Zstd, text.len())).await.unwrap();
        assert_eq!(content.concat(), text);
    }

    #[tokio::test]
    async fn a_content_of_megabytes_decodes_too() {
        let text = vec![b'x'; 5 << 20];
        let content = content(vec![frame(&text)], &options(BodyEncoding::Zstd, text.len())).await.unwrap();
        assert_eq!(content.concat(), text);
    }

    #[tokio::test]
    async fn a_bomb_is_refused_and_never_unpacked() {
        let bomb = frame(&vec![0; 100 << 20]);
        let error = content(vec![bomb], &options(BodyEncoding::Zstd, 1000)).await.unwrap_err();
        assert!(matches!(error, BodyError::Damaged { .. }), "{error}");
    }

    #[tokio::test]
    async fn missing_and_mangled_octets_are_noticed() {
        for (stored, encoding, size) in [
            (vec![Bytes::from_static(b"abc")], BodyEncoding::Identity, 4),
            (vec![Bytes::from_static(b"abcde")], BodyEncoding::Identity, 4),
            (vec![frame(b"abc")], BodyEncoding::Zstd, 4),
            (vec![Bytes::from_static(b"not zstd")], BodyEncoding::Zstd, 4),
            (vec![frame(&[b'a'; 500]).slice(..10)], BodyEncoding::Zstd, 500),
            (vec![], BodyEncoding::Identity, 1),
        ] {
            assert!(content(stored.clone(), &options(encoding, size)).await.is_err(), "{stored:?}");
        }
    }

    #[tokio::test]
    async fn the_budget_is_shared_and_no_message_is_too_large_for_it() {
        let budget = BodyBudget::new(1 << 20);
        let most = budget.reserve(900 << 10).await.unwrap();
        let small = budget.reserve(100 << 10).await.unwrap();
        let mut huge = std::pin::pin!(budget.reserve(1 << 30));
        assert!(futures_poll(&mut huge).await.is_none(), "waits while others are in memory");
        drop((most, small));
        assert!(huge.await.is_some());
    }

    /// One poll of a future.
    async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = future => Some(output),
            () = std::future::ready(()) => None,
        }
    }
}
