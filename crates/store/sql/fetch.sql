-- Deliveries with all that a dispatch or a settlement needs; recipients are those still to be reached.
SELECT d.id, d.message_id, d.shard, d.tenant_id, d.priority, d.expires_at, d.destination, d.sender,
       coalesce(r.recipients, d.recipients) AS recipients, d.options,
       coalesce(r.attempts, 0::smallint) AS attempts, r.next_attempt_at,
       coalesce(r.last_outcome, ''::bytea) AS last_outcome, r.told_at, r.hosts,
       h.since AS held_since, h.operator AS held_by, h.reason AS held_reason, d.flags & 8 <> 0 AS was_held
FROM delivery d
LEFT JOIN LATERAL (
    SELECT attempts, next_attempt_at, recipients, last_outcome, told_at, hosts
    FROM retry WHERE delivery_id = d.id OFFSET 0
) r ON true
LEFT JOIN LATERAL (SELECT since, operator, reason FROM held WHERE delivery_id = d.id OFFSET 0) h ON true
WHERE d.id = ANY ($1::bigint[])
ORDER BY d.id
