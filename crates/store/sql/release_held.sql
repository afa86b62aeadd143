-- Lets held deliveries that are locked go on, and moves the end of their lifetime.
WITH unheld AS (
    DELETE FROM held WHERE delivery_id = ANY ($1::bigint[])
)
UPDATE delivery SET flags = flags & ~1::smallint, expires_at = r.expires_at
FROM unnest($1::bigint[], $2::timestamptz[]) AS r (id, expires_at)
WHERE delivery.id = r.id
