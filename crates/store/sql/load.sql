-- A page of what a scheduler needs to know of the deliveries of its shards, in the order of ids: of those with ids
-- between $1 and $2 the first $3 are looked at, and of these at most $5 returned that are of the shards $4, so that no
-- statement takes long where these have little among much. `bound` is the last that was looked at and `looked_at` their
-- number; both come back even when nothing was found. The subquery with OFFSET is not merged into a join, so the plan is
-- a walk along the primary key whatever the statistics say. The last outcome is read only where $6 asks for it, and not
-- where an operator sent the attempt elsewhere; the sender only where $7 does.
WITH bound AS (
    SELECT max(id) AS id, count(*) AS looked_at
    FROM (SELECT id FROM delivery WHERE id > $1::bigint AND id < $2::bigint ORDER BY id LIMIT $3::bigint) AS page
)
SELECT bound.id AS bound, bound.looked_at, m.*
FROM bound
LEFT JOIN LATERAL (
    SELECT d.id, d.shard, d.tenant_id, d.priority, d.expires_at, d.destination,
           CASE WHEN $7::boolean THEN d.sender ELSE '' END AS sender,
           coalesce(r.attempts, 0::smallint) AS attempts, r.next_attempt_at, r.told_at,
           CASE WHEN $6::boolean AND d.flags & 2 = 0 THEN r.last_outcome END AS last_outcome,
           d.flags & 1 <> 0 AS is_held, CASE WHEN d.flags & 2 <> 0 THEN r.hosts END AS hosts
    FROM delivery d
    LEFT JOIN LATERAL (
        SELECT attempts, next_attempt_at, last_outcome, told_at, hosts FROM retry WHERE delivery_id = d.id OFFSET 0
    ) AS r ON true
    WHERE d.id > $1::bigint AND d.id <= bound.id AND d.shard = ANY ($4::smallint[])
    ORDER BY d.id
    LIMIT $5::bigint
) AS m ON true
ORDER BY m.id
