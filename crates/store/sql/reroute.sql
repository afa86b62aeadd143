-- Where the next attempts of deliveries that are locked go: null for their own way. One that was never attempted gets the
-- row of a retry that is due.
WITH flagged AS (
    UPDATE delivery
    SET flags = CASE WHEN $3::text[] IS NULL THEN flags & ~2::smallint ELSE flags | 2::smallint END
    WHERE id = ANY ($1::bigint[])
)
INSERT INTO retry (delivery_id, next_attempt_at, attempts, recipients, last_outcome, hosts)
SELECT d.id, $2::timestamptz, 0, d.recipients, '', $3::text[]
FROM delivery d
WHERE d.id = ANY ($1::bigint[])
ON CONFLICT (delivery_id) DO UPDATE SET hosts = excluded.hosts
