-- A page of deliveries for an operator: of those with ids between $1 and $2 the first $3 are looked at, and of these at
-- most $4 returned that match, or fewer once they have $5 recipients, so that no page is larger than its reader's memory.
-- `bound` is the last that was looked at and `looked_at` their number; both come back even when nothing matched. `place`
-- is a row's number among them.
WITH bound AS (
    SELECT max(id) AS id, count(*) AS looked_at
    FROM (SELECT id FROM delivery WHERE id > $1::bigint AND id < $2::bigint ORDER BY id LIMIT $3::bigint) AS page
)
SELECT bound.id AS bound, bound.looked_at, m.*
FROM bound
LEFT JOIN LATERAL (
    SELECT * FROM (
        SELECT d.id, d.message_id, d.shard, d.tenant_id, d.priority, d.expires_at, d.destination, d.sender,
               coalesce(r.recipients, d.recipients) AS recipients, d.options,
               coalesce(r.attempts, 0::smallint) AS attempts, r.next_attempt_at,
               coalesce(r.last_outcome, ''::bytea) AS last_outcome, r.hosts,
               h.since AS held_since, h.operator AS held_by, h.reason AS held_reason, d.place,
               sum(cardinality(coalesce(r.recipients, d.recipients)))
                   OVER (ORDER BY d.id ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS recipients_before
        FROM (
            SELECT *, row_number() OVER (ORDER BY id) AS place
            FROM delivery WHERE id > $1::bigint AND id <= bound.id
        ) AS d
        LEFT JOIN LATERAL (
            SELECT attempts, next_attempt_at, recipients, last_outcome, hosts
            FROM retry WHERE delivery_id = d.id OFFSET 0
        ) AS r ON true
        LEFT JOIN LATERAL (
            SELECT since, operator, reason FROM held WHERE delivery_id = d.id AND d.flags & 1 <> 0 OFFSET 0
        ) AS h ON true
        WHERE ($6::integer IS NULL OR d.tenant_id = $6::integer)
          AND ($7::text IS NULL OR d.destination = $7::text)
          AND ($8::text IS NULL OR d.sender = $8::text)
          AND ($9::text IS NULL OR right(d.sender, length($9::text)) = $9::text)
          AND ($10::text IS NULL OR $10::text = ANY (coalesce(r.recipients, d.recipients)))
          AND ($11::text IS NULL OR EXISTS (
              SELECT FROM unnest(coalesce(r.recipients, d.recipients)) AS one (address)
              WHERE right(one.address, length($11::text)) = $11::text
          ))
          AND coalesce(r.attempts, 0::smallint) BETWEEN $12::smallint AND $13::smallint
          AND ($14::boolean IS NULL OR (d.flags & 1 <> 0) = $14::boolean)
    ) AS matching
    WHERE coalesce(recipients_before, 0) < $5::bigint
    ORDER BY id
    LIMIT $4::bigint
) AS m ON true
ORDER BY m.id
