-- Makes deferred deliveries due.
UPDATE retry SET next_attempt_at = $2::timestamptz
WHERE delivery_id = ANY ($1::bigint[]) AND next_attempt_at > $2::timestamptz
RETURNING delivery_id
