-- Messages that have chunks and no delivery, among the $3 chunks after message $1 and before message $2. `bound` is where
-- the next page begins.
WITH bound AS (
    SELECT (
        SELECT message_id FROM body WHERE message_id > $1::bigint AND message_id < $2::bigint
        ORDER BY message_id OFFSET $3::bigint - 1 LIMIT 1
    ) AS message_id
)
SELECT bound.message_id AS bound, o.message_id
FROM bound
LEFT JOIN LATERAL (
    SELECT DISTINCT b.message_id
    FROM body b
    WHERE b.message_id > $1::bigint AND b.message_id < $2::bigint
      AND b.message_id <= coalesce(bound.message_id, 9223372036854775807)
      AND (
        SELECT d.id FROM delivery d
        WHERE d.id >= b.message_id AND d.id < b.message_id + 4096 AND d.message_id = b.message_id
        ORDER BY d.id LIMIT 1
      ) IS NULL
) o ON true
