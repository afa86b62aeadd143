-- A page of the deliveries an operator means by destination, or all. $3 bounds the rows looked at, as in list.sql.
WITH bound AS (
    SELECT (SELECT id FROM delivery WHERE id > $1::bigint ORDER BY id OFFSET $3::bigint - 1 LIMIT 1) AS id
)
SELECT bound.id AS bound, m.id, m.shard
FROM bound
LEFT JOIN LATERAL (
    SELECT d.id, d.shard
    FROM delivery d
    WHERE d.id > $1::bigint AND d.id <= coalesce(bound.id, 9223372036854775807)
      AND ($2::text IS NULL OR d.destination = $2::text)
    ORDER BY d.id
    LIMIT $4::bigint
) m ON true
ORDER BY m.id
