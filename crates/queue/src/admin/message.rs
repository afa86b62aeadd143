//! One message: what is left of it, what happened to it, and its content as far as it is still stored.

use bytes::Bytes;
use mailtier_api::ApiError;
use mailtier_api::admin::{MAX_ROWS, ShowReply, Shown};
use mailtier_message::original_headers;
use mailtier_store::Session;
use mailtier_types::{BodyEncoding, Event, EventKind, MessageId, Timestamp};

use super::{trouble, views};

/// The largest content that is shown, decompressed.
const SHOWN_CONTENT_BYTES: usize = 64 << 20;
/// The largest header section that is shown.
const SHOWN_HEADER_BYTES: usize = 256 << 10;

/// All about a message.
pub(super) async fn show(session: &mut Session, id: MessageId, shown: Shown) -> Result<ShowReply, ApiError> {
    let stored = session.show(id).await.map_err(|error| trouble(&error))?;
    let events = session.trace(id, Timestamp::EPOCH, MAX_ROWS).await.map_err(|error| trouble(&error))?;
    let events: Vec<Event> = events.iter().map(views::event).collect();
    if stored.is_empty() && events.is_empty() {
        return Err(ApiError::NotFound(format!("no message {id} is queued, and none in the history")));
    }
    let of_row = stored.iter().find_map(|row| mailtier_api::decode_options(&row.options).ok());
    let accepted = events.iter().find(|event| event.kind == EventKind::MessageAccepted);
    let options = of_row.or_else(|| accepted.and_then(|event| event.detail.options.clone()));
    let encoding = options.as_ref().map_or(BodyEncoding::Identity, |options| options.encoding);
    let mut reply =
        ShowReply { deliveries: stored.iter().map(views::delivery).collect(), events, options, ..ShowReply::default() };
    match shown {
        Shown::Nothing => {}
        Shown::Headers => {
            let beginning = content(session, id, encoding, SHOWN_HEADER_BYTES).await?;
            reply.headers = Bytes::copy_from_slice(original_headers(&beginning, SHOWN_HEADER_BYTES));
        }
        Shown::Content => reply.content = content(session, id, encoding, SHOWN_CONTENT_BYTES).await?.into(),
    }
    Ok(reply)
}

/// The content, or its beginning: no further chunk is read once there is so much.
async fn content(
    session: &mut Session,
    id: MessageId,
    encoding: BodyEncoding,
    limit: usize,
) -> Result<Vec<u8>, ApiError> {
    let mut content = Vec::new();
    for seq in 0.. {
        let left = SHOWN_CONTENT_BYTES.saturating_sub(content.len());
        if content.len() >= limit {
            break;
        }
        let Some(chunk) = session.body_chunk(id, seq).await.map_err(|error| trouble(&error))? else { break };
        match encoding {
            BodyEncoding::Identity => content.extend_from_slice(chunk.get(..left.min(chunk.len())).unwrap_or_default()),
            BodyEncoding::Zstd => {
                let decoded = zstd::bulk::decompress(&chunk, left)
                    .map_err(|error| ApiError::Internal(format!("the stored body cannot be read: {error}")))?;
                content.extend_from_slice(&decoded);
            }
        }
    }
    Ok(content)
}
