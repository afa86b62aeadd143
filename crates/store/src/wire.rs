//! Our values in PostgreSQL's terms: times, ids and lists, in both directions. Not responsible for statements.

use bytes::Bytes;
use mailtier_types::{DeliveryId, EventKind, MessageId, ShardId, TenantId, Timestamp};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgRow, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Row as _, Type, ValueRef as _};

use crate::error::StoreError;
use crate::model::{Held, StoredDelivery, StoredEvent};

/// Between the recipients of one row in a list of rows; no address has one (RFC 5321 §4.1.2).
const SEPARATOR: &str = "\n";
/// 2000-01-01T00:00:00Z, from which `timestamptz` counts, in microseconds since 1970.
const POSTGRES_EPOCH_US: i64 = 946_684_800_000_000;
/// The types' numbers in `pg_type`, the same on every server.
const TIMESTAMPTZ: Oid = Oid(1184);
const TIMESTAMPTZ_ARRAY: Oid = Oid(1185);

/// A `timestamptz`.
#[derive(Clone, Copy)]
pub(crate) struct Time(pub(crate) Timestamp);

impl Type<Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }
}

impl PgHasArrayType for Time {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ_ARRAY)
    }
}

impl Encode<'_, Postgres> for Time {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = self.0.as_micros().saturating_sub(POSTGRES_EPOCH_US);
        <i64 as Encode<'_, Postgres>>::encode(micros, buffer)
    }
}

impl<'r> Decode<'r, Postgres> for Time {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let octets: [u8; 8] = value.as_bytes()?.try_into()?;
        Ok(Self(Timestamp::from_micros(i64::from_be_bytes(octets).saturating_add(POSTGRES_EPOCH_US))))
    }
}

/// Recipients of one row, as one text.
pub(crate) fn joined(recipients: &[String]) -> String {
    recipients.join(SEPARATOR)
}

/// A number that does not fit is stored as the largest that does.
pub(crate) fn small(number: u16) -> i16 {
    i16::try_from(number).unwrap_or(i16::MAX)
}

/// Reads columns of a row by name; trouble names the column.
pub(crate) trait Columns {
    fn value<'r, T: Decode<'r, Postgres> + Type<Postgres>>(&'r self, name: &'static str) -> Result<T, StoreError>;

    fn time(&self, name: &'static str) -> Result<Timestamp, StoreError> {
        Ok(self.value::<Time>(name)?.0)
    }

    fn time_or_none(&self, name: &'static str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.value::<Option<Time>>(name)?.map(|time| time.0))
    }

    fn bytes(&self, name: &'static str) -> Result<Bytes, StoreError>;

    /// None where there is no value.
    fn texts(&self, name: &'static str) -> Result<Vec<String>, StoreError> {
        Ok(self.value::<Option<_>>(name)?.unwrap_or_default())
    }

    /// Whether the statement has such a column.
    fn has(&self, name: &'static str) -> bool;

    fn delivery_id(&self, name: &'static str) -> Result<DeliveryId, StoreError> {
        DeliveryId::from_i64(self.value(name)?).map_err(|_| StoreError::Corrupt { column: name })
    }

    fn message_id(&self, name: &'static str) -> Result<MessageId, StoreError> {
        MessageId::from_i64(self.value(name)?).map_err(|_| StoreError::Corrupt { column: name })
    }

    fn shard(&self) -> Result<ShardId, StoreError> {
        let number = u8::try_from(self.value::<i16>("shard")?).map_err(|_| StoreError::Corrupt { column: "shard" })?;
        Ok(ShardId::new(number))
    }

    fn count(&self, name: &'static str) -> Result<u16, StoreError> {
        u16::try_from(self.value::<i16>(name)?).map_err(|_| StoreError::Corrupt { column: name })
    }
}

impl Columns for PgRow {
    fn value<'r, T: Decode<'r, Postgres> + Type<Postgres>>(&'r self, name: &'static str) -> Result<T, StoreError> {
        self.try_get(name).map_err(|error| {
            tracing::debug!(column = name, %error, "stored value cannot be read");
            StoreError::Corrupt { column: name }
        })
    }

    fn has(&self, name: &'static str) -> bool {
        self.try_column(name).is_ok()
    }

    fn bytes(&self, name: &'static str) -> Result<Bytes, StoreError> {
        let value = self.try_get_raw(name).map_err(|_| StoreError::Corrupt { column: name })?;
        if value.is_null() {
            return Ok(Bytes::new());
        }
        value.as_bytes().map(Bytes::copy_from_slice).map_err(|_| StoreError::Corrupt { column: name })
    }
}

/// A row of `fetch.sql`, `show.sql` and `list.sql`.
pub(crate) fn stored_delivery(row: &PgRow) -> Result<StoredDelivery, StoreError> {
    Ok(StoredDelivery {
        id: row.delivery_id("id")?,
        message: row.message_id("message_id")?,
        shard: row.shard()?,
        tenant: TenantId(row.value("tenant_id")?),
        priority: row.value("priority")?,
        expires_at: row.time("expires_at")?,
        destination: row.value("destination")?,
        sender: row.value("sender")?,
        recipients: row.value("recipients")?,
        options: row.bytes("options")?,
        attempts: row.count("attempts")?,
        next_attempt_at: row.time_or_none("next_attempt_at")?,
        last_outcome: row.bytes("last_outcome")?,
        told_at: if row.has("told_at") { row.time_or_none("told_at")? } else { None },
        hosts: row.texts("hosts")?,
        held: held(row)?,
        was_held: row.has("was_held") && row.value("was_held")?,
    })
}

/// What a statement that looks at a bounded number of deliveries has found.
pub(crate) struct FoundPage {
    /// The rows that it returned.
    pub(crate) found: Vec<PgRow>,
    /// The last that it looked at.
    pub(crate) bound: Option<DeliveryId>,
    /// How many it looked at.
    pub(crate) looked_at: u64,
}

/// What `list.sql` and `load.sql` return: where nothing was found there is still one row, for the bound.
pub(crate) fn found_of_page(mut rows: Vec<PgRow>) -> Result<FoundPage, StoreError> {
    let Some(first) = rows.first() else { return Ok(FoundPage { found: rows, bound: None, looked_at: 0 }) };
    let bound = first.value::<Option<i64>>("bound")?.map(DeliveryId::from_i64).transpose()?;
    let looked_at = first.value::<i64>("looked_at")?.unsigned_abs();
    if first.value::<Option<i64>>("id")?.is_none() {
        rows.clear();
    }
    Ok(FoundPage { found: rows, bound, looked_at })
}

/// Rows of deliveries as values. One that cannot be read stands in nobody's way: it is left out, with an error in the log
/// that names it.
pub(crate) fn readable<T>(rows: &[PgRow], read: impl Fn(&PgRow) -> Result<T, StoreError>) -> Vec<T> {
    let complain = |row: &PgRow, error: &StoreError| {
        let delivery = row.delivery_id("id").map(|id| id.to_string()).unwrap_or_default();
        tracing::error!(delivery, %error, "a stored delivery cannot be read; it is left alone");
    };
    rows.iter().filter_map(|row| read(row).inspect_err(|error| complain(row, error)).ok()).collect()
}

fn held(row: &PgRow) -> Result<Option<Held>, StoreError> {
    let Some(since) = row.time_or_none("held_since")? else { return Ok(None) };
    Ok(Some(Held { since, operator: row.value("held_by")?, reason: row.value("held_reason")? }))
}

/// A row of the statements that read history.
pub(crate) fn stored_event(row: &PgRow) -> Result<StoredEvent, StoreError> {
    let delivery = row.value::<Option<i64>>("delivery_id")?.map(DeliveryId::from_i64).transpose()?;
    Ok(StoredEvent {
        at: row.time("at")?,
        kind: EventKind::from_number(row.value("kind")?).ok_or(StoreError::Corrupt { column: "kind" })?,
        message: row.message_id("message_id")?,
        delivery,
        tenant: TenantId(row.value("tenant_id")?),
        attempt: row.count("attempt")?,
        sender: row.value("sender")?,
        recipients: row.value("recipients")?,
        detail: row.bytes("detail")?,
    })
}
