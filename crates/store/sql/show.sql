-- The deliveries of one message: its ids are the message's own and at most 4095 after it.
SELECT d.id, d.message_id, d.shard, d.tenant_id, d.priority, d.expires_at, d.destination, d.sender,
       coalesce(r.recipients, d.recipients) AS recipients, d.options,
       coalesce(r.attempts, 0::smallint) AS attempts, r.next_attempt_at,
       coalesce(r.last_outcome, ''::bytea) AS last_outcome, r.hosts,
       h.since AS held_since, h.operator AS held_by, h.reason AS held_reason
FROM delivery d
LEFT JOIN LATERAL (
    SELECT attempts, next_attempt_at, recipients, last_outcome, hosts FROM retry WHERE delivery_id = d.id OFFSET 0
) r ON true
LEFT JOIN LATERAL (SELECT since, operator, reason FROM held WHERE delivery_id = d.id OFFSET 0) h ON true
WHERE d.id >= $1::bigint AND d.id <= least($1::bigint, 9223372036854771712) + 4095 AND d.message_id = $1::bigint
ORDER BY d.id
