-- A page of what a scheduler needs to know of the deliveries of its shards, in the order of ids. The subquery with OFFSET
-- is not merged into a join, so the plan is a walk along the primary key whatever the statistics say. The last outcome
-- is read only where $4 asks for it, and not where an operator sent the attempt elsewhere; the sender only where $5 does.
SELECT d.id, d.shard, d.tenant_id, d.priority, d.expires_at, d.destination,
       CASE WHEN $5::boolean THEN d.sender ELSE '' END AS sender,
       coalesce(r.attempts, 0::smallint) AS attempts, r.next_attempt_at, r.told_at,
       CASE WHEN $4::boolean AND d.flags & 2 = 0 THEN r.last_outcome END AS last_outcome, d.flags & 1 <> 0 AS is_held
FROM delivery d
LEFT JOIN LATERAL (
    SELECT attempts, next_attempt_at, last_outcome, told_at FROM retry WHERE delivery_id = d.id OFFSET 0
) r ON true
WHERE d.id > $1::bigint AND d.shard = ANY ($2::smallint[])
ORDER BY d.id
LIMIT $3::bigint
