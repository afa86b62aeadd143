-- The newest acceptances within a stretch of time, pruned as in trace_address.sql, that have these octets among what is
-- stored of the message's facts: the value of a field. That it is the right field is for the reader to find out.
SELECT at, message_id, delivery_id, tenant_id, kind, attempt, sender, recipients, detail
FROM event
WHERE at >= $2::timestamptz AND at < $3::timestamptz AND kind = 1 AND position($1::bytea IN detail) > 0
ORDER BY at DESC, message_id DESC
LIMIT $4::bigint
