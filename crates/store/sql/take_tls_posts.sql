-- Gives up to $4 posts that are due at $1 and nobody holds then to $2 until $3.
UPDATE tls_post p SET holder = $2::uuid, leased_until = $3::timestamptz, attempts = p.attempts + 1
FROM (
    SELECT id FROM tls_post
    WHERE next_at <= $1::timestamptz AND expires_at > $1::timestamptz
      AND (leased_until IS NULL OR leased_until <= $1::timestamptz)
    ORDER BY next_at, id
    LIMIT $4::bigint
    FOR UPDATE SKIP LOCKED
) AS due
WHERE p.id = due.id
RETURNING p.id, p.uri, p.body
