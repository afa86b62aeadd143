//! Rows turned into the lists that `unnest` takes: one list a column. Not responsible for what is in them.

use sqlx::Postgres;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;

use crate::model::{Finished, NewDelivery, NewEvent, NewMessage, Retry};
use crate::wire::{Time, joined, small};

type Statement<'q> = Query<'q, Postgres, PgArguments>;

/// The accepted events, bodies and deliveries of messages, in the order of `accept.sql`.
pub(crate) fn bind_messages<'q>(statement: Statement<'q>, messages: &'q [&'q NewMessage]) -> Statement<'q> {
    let events = || messages.iter().map(|message| &message.accepted);
    let bodies = || messages.iter().filter_map(|message| message.body.as_ref().map(|body| (message.id, body)));
    let statement = statement
        .bind(messages.iter().map(|message| Time(message.id.made_at())).collect::<Vec<_>>())
        .bind(messages.iter().map(|message| message.id.as_i64()).collect::<Vec<_>>())
        .bind(events().map(|event| event.tenant.0).collect::<Vec<_>>())
        .bind(events().map(|event| event.sender.as_str()).collect::<Vec<_>>())
        .bind(events().map(|event| joined(&event.recipients)).collect::<Vec<_>>())
        .bind(events().map(|event| event.detail.as_ref()).collect::<Vec<_>>())
        .bind(bodies().map(|(id, _)| id.as_i64()).collect::<Vec<_>>())
        .bind(bodies().map(|(_, (seq, _))| chunk_number(*seq)).collect::<Vec<_>>())
        .bind(bodies().map(|(_, (_, data))| data.as_ref()).collect::<Vec<_>>());
    bind_deliveries(statement, messages)
}

fn bind_deliveries<'q>(statement: Statement<'q>, messages: &'q [&'q NewMessage]) -> Statement<'q> {
    let rows = || {
        messages.iter().flat_map(|message| message.deliveries.iter().map(|delivery| (message.id.as_i64(), delivery)))
    };
    let deliveries = || rows().map(|(_, delivery): (i64, &NewDelivery)| delivery);
    statement
        .bind(deliveries().map(|delivery| delivery.id.as_i64()).collect::<Vec<_>>())
        .bind(rows().map(|(message, _)| message).collect::<Vec<_>>())
        .bind(deliveries().map(|delivery| Time(delivery.expires_at)).collect::<Vec<_>>())
        .bind(deliveries().map(|delivery| delivery.tenant.0).collect::<Vec<_>>())
        .bind(deliveries().map(|delivery| i16::from(delivery.shard.number())).collect::<Vec<_>>())
        .bind(deliveries().map(|delivery| delivery.priority).collect::<Vec<_>>())
        .bind(deliveries().map(|delivery| delivery.destination.as_str()).collect::<Vec<_>>())
        .bind(deliveries().map(|delivery| delivery.sender.as_str()).collect::<Vec<_>>())
        .bind(deliveries().map(|delivery| joined(&delivery.recipients)).collect::<Vec<_>>())
        .bind(deliveries().map(|delivery| delivery.options.as_ref()).collect::<Vec<_>>())
}

/// Finished deliveries, in the order of `finish_delivered.sql` and `settle.sql`.
pub(crate) fn bind_finished<'q>(statement: Statement<'q>, finished: &[Finished]) -> Statement<'q> {
    let (single, shared): (Vec<&Finished>, Vec<&Finished>) = finished.iter().partition(|one| one.fanout <= 1);
    statement
        .bind(finished.iter().map(|one| one.delivery.as_i64()).collect::<Vec<_>>())
        .bind(single.iter().map(|one| one.message.as_i64()).collect::<Vec<_>>())
        .bind(shared.iter().map(|one| one.message.as_i64()).collect::<Vec<_>>())
        .bind(shared.iter().map(|one| i32::from(one.fanout)).collect::<Vec<_>>())
}

/// Events, in the order of `finish_delivered.sql` and `settle.sql`.
pub(crate) fn bind_events<'q>(statement: Statement<'q>, events: &'q [NewEvent]) -> Statement<'q> {
    statement
        .bind(events.iter().map(|event| Time(event.at)).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.message.as_i64()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.delivery.map_or(0, |id| id.as_i64())).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.tenant.0).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.kind.number()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| small(event.attempt)).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.sender.as_str()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| joined(&event.recipients)).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.detail.as_ref()).collect::<Vec<_>>())
}

/// Retries, in the order of `settle.sql`.
pub(crate) fn bind_retries<'q>(statement: Statement<'q>, retries: &'q [Retry]) -> Statement<'q> {
    statement
        .bind(retries.iter().map(|retry| retry.delivery.as_i64()).collect::<Vec<_>>())
        .bind(retries.iter().map(|retry| small(retry.attempts)).collect::<Vec<_>>())
        .bind(retries.iter().map(|retry| Time(retry.next_attempt_at)).collect::<Vec<_>>())
        .bind(retries.iter().map(|retry| joined(&retry.recipients)).collect::<Vec<_>>())
        .bind(retries.iter().map(|retry| retry.last_outcome.as_ref()).collect::<Vec<_>>())
}

/// Chunks are at most as many as an upload has megabytes.
pub(crate) fn chunk_number(seq: u32) -> i32 {
    i32::try_from(seq).unwrap_or(i32::MAX)
}
