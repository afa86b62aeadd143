//! A stream of frames as its reader sees it: domain types, each validated as it arrives.

use std::fmt;
use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use tonic::Streaming;

use crate::error::ApiError;

/// Frames from the other side.
pub struct Incoming<T> {
    frames: Pin<Box<dyn Stream<Item = Result<T, ApiError>> + Send>>,
}

impl<T> fmt::Debug for Incoming<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Incoming")
    }
}

impl<T> Incoming<T> {
    pub(crate) fn new<W>(frames: Streaming<W>) -> Self
    where
        W: Send + 'static,
        T: TryFrom<W, Error = ApiError> + Send + 'static,
    {
        Self { frames: Box::pin(frames.map(|frame| T::try_from(frame?))) }
    }

    /// The next frame; nothing when the other side has ended the stream. After an error the stream is over.
    pub async fn next(&mut self) -> Option<Result<T, ApiError>> {
        self.frames.next().await
    }
}
