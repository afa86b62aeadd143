-- Holds deliveries that are locked and not held.
WITH flagged AS (
    UPDATE delivery SET flags = flags | 1::smallint WHERE id = ANY ($1::bigint[])
)
INSERT INTO held (delivery_id, since, operator, reason)
SELECT h.delivery_id, h.since, h.operator, h.reason
FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[]) AS h (delivery_id, since, operator, reason)
