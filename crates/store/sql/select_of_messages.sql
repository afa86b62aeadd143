-- A page of the deliveries of messages.
SELECT d.id, d.shard
FROM unnest($2::bigint[]) AS m (message_id)
CROSS JOIN LATERAL (
    SELECT id, shard FROM delivery
    WHERE id >= m.message_id AND id < m.message_id + 4096 AND id > $1::bigint AND message_id = m.message_id
    OFFSET 0
) d
ORDER BY d.id
LIMIT $3::bigint
