-- Makes deferred deliveries that are locked due.
UPDATE retry SET next_attempt_at = $2::timestamptz WHERE delivery_id = ANY ($1::bigint[])
