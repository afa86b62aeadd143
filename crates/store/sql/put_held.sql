-- Holds deliveries that are locked and not held; $5 are the bits of each.
WITH flagged AS (
    UPDATE delivery SET flags = delivery.flags | f.flags
    FROM unnest($1::bigint[], $5::smallint[]) AS f (id, flags)
    WHERE delivery.id = f.id
)
INSERT INTO held (delivery_id, since, operator, reason)
SELECT h.delivery_id, h.since, h.operator, h.reason
FROM unnest($1::bigint[], $2::timestamptz[], $3::text[], $4::text[]) AS h (delivery_id, since, operator, reason)
