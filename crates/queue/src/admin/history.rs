//! What happened: to a message, to those with a Message-ID field, or to the mail of an address. Searching history takes
//! as long as there is history, so one call searches for about a second, and whoever asks goes on.

use std::time::Duration;

use mailtier_api::ApiError;
use mailtier_api::admin::{TraceBy, TraceReply, TraceRequest};
use mailtier_store::{HistoryStretch, Session, Sought};
use mailtier_types::{Event, MessageId, Timestamp};

use super::{trouble, views};
use crate::clock;

/// Without a `since`, a search reaches back so far.
const DEFAULT_REACH: Duration = Duration::from_secs(2 * 86_400);
/// A call begins no further statement after that.
const TIME_A_CALL: Duration = Duration::from_secs(1);
/// A search begins so far in the future, for clocks that differ.
const AHEAD: Duration = Duration::from_secs(1);
/// Events of one answer, whatever is found: those of further messages are left to the next call.
const EVENTS_A_CALL: usize = 10_000;

/// Answers.
pub(super) async fn trace(session: &mut Session, request: TraceRequest) -> Result<TraceReply, ApiError> {
    let now = clock::now();
    let stretch = HistoryStretch {
        since: request.since.unwrap_or_else(|| now.before(DEFAULT_REACH)),
        until: request.until.unwrap_or_else(|| now.after(AHEAD)),
        limit: request.limit,
        within: TIME_A_CALL,
    };
    match request.by {
        TraceBy::Message(id) => {
            let since = request.since.unwrap_or(Timestamp::EPOCH);
            let events = of_message(session, id, since, request.limit).await?;
            Ok(TraceReply { events, looked_back_to: since, next_until: None })
        }
        TraceBy::Address(address) => {
            let page = session.search_history(Sought::Address(&address), stretch).await;
            let page = page.map_err(|error| trouble(&error))?;
            let events = page.events.iter().rev().map(views::event).collect();
            Ok(reply(events, page.looked_back_to, stretch.since))
        }
        TraceBy::HeaderMessageId(value) => of_field(session, &value, stretch).await,
    }
}

/// The messages with this field, and the whole history of each.
async fn of_field(session: &mut Session, value: &str, stretch: HistoryStretch) -> Result<TraceReply, ApiError> {
    let page = session.search_history(Sought::Octets(value.as_bytes()), stretch).await;
    let page = page.map_err(|error| trouble(&error))?;
    let mut looked_back_to = page.looked_back_to;
    let mut events = Vec::new();
    for accepted in &page.events {
        if events.len() >= EVENTS_A_CALL {
            looked_back_to = Timestamp::from_micros(accepted.at.as_micros() + 1);
            break;
        }
        // The same octets may stand in another of the message's facts.
        let detail = views::event(accepted).detail;
        if detail.options.is_some_and(|options| options.header_message_id == value) {
            events.extend(of_message(session, accepted.message, Timestamp::EPOCH, stretch.limit).await?);
        }
    }
    events.sort_by_key(|event| event.at);
    Ok(reply(events, looked_back_to, stretch.since))
}

async fn of_message(
    session: &mut Session,
    id: MessageId,
    since: Timestamp,
    limit: u32,
) -> Result<Vec<Event>, ApiError> {
    let events = session.trace(id, since, limit).await.map_err(|error| trouble(&error))?;
    Ok(events.iter().map(views::event).collect())
}

fn reply(events: Vec<Event>, looked_back_to: Timestamp, since: Timestamp) -> TraceReply {
    TraceReply { events, looked_back_to, next_until: Some(looked_back_to).filter(|reached| *reached > since) }
}
