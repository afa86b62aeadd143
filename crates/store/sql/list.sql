-- A page of deliveries for an operator. At most $6 rows are looked at, however few match: `bound` is the last of them,
-- where the next page begins, and comes back even when nothing matched.
WITH bound AS (
    SELECT (SELECT id FROM delivery WHERE id > $1::bigint ORDER BY id OFFSET $6::bigint - 1 LIMIT 1) AS id
)
SELECT bound.id AS bound, m.*
FROM bound
LEFT JOIN LATERAL (
    SELECT d.id, d.message_id, d.shard, d.tenant_id, d.priority, d.expires_at, d.destination, d.sender,
           coalesce(r.recipients, d.recipients) AS recipients, d.options,
           coalesce(r.attempts, 0::smallint) AS attempts, r.next_attempt_at,
           coalesce(r.last_outcome, ''::bytea) AS last_outcome
    FROM delivery d
    LEFT JOIN LATERAL (
        SELECT attempts, next_attempt_at, recipients, last_outcome FROM retry WHERE delivery_id = d.id OFFSET 0
    ) r ON true
    WHERE d.id > $1::bigint AND d.id <= coalesce(bound.id, 9223372036854775807)
      AND ($2::text IS NULL OR d.destination = $2::text)
      AND ($3::text IS NULL OR d.sender = $3::text)
      AND ($4::text IS NULL OR $4::text = ANY (coalesce(r.recipients, d.recipients)))
      AND (NOT $5::boolean OR r.attempts > 0)
    ORDER BY d.id
    LIMIT $7::bigint
) m ON true
ORDER BY m.id
