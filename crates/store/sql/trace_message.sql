-- The newest events of one message, through both of event's indexes.
SELECT at, message_id, delivery_id, tenant_id, kind, attempt, sender, recipients, detail
FROM (
    SELECT * FROM event WHERE message_id = $1::bigint AND kind = 1 AND at >= $2::timestamptz
    UNION ALL
    SELECT * FROM event WHERE message_id = $1::bigint AND kind <> 1 AND at >= $2::timestamptz
) e
ORDER BY at DESC, kind DESC, delivery_id DESC
LIMIT $3::bigint
