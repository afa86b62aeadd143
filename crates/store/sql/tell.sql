-- The senders of deliveries, which are locked, are told that they are late: when it is written down. One that was never
-- attempted gets a row, due as it was, and a flag: a settlement under way that does not see the row leaves it alone.
WITH flagged AS (
    UPDATE delivery SET flags = flags | 4::smallint
    WHERE id = ANY ($1::bigint[]) AND NOT EXISTS (SELECT FROM retry WHERE delivery_id = delivery.id)
)
INSERT INTO retry (delivery_id, next_attempt_at, attempts, recipients, last_outcome, told_at)
SELECT d.id, t.due, 0, d.recipients, '', $3::timestamptz
FROM unnest($1::bigint[], $2::timestamptz[]) AS t (delivery_id, due)
JOIN delivery d ON d.id = t.delivery_id
ON CONFLICT (delivery_id) DO UPDATE SET told_at = excluded.told_at
