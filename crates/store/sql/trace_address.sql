-- The newest events of one address within a stretch of time, which prunes partitions and, by `event_by_time`, their pages.
SELECT at, message_id, delivery_id, tenant_id, kind, attempt, sender, recipients, detail
FROM event
WHERE at >= $2::timestamptz AND at < $3::timestamptz AND (sender = $1::text OR $1::text = ANY (recipients))
ORDER BY at DESC, kind DESC, delivery_id DESC
LIMIT $4::bigint
