-- Claims up to $4 reports that are due at $1 and nobody holds then, for $2 until $3.
UPDATE tls_report r SET holder = $2::uuid, leased_until = $3::timestamptz
FROM (
    SELECT day, domain FROM tls_report
    WHERE done_at IS NULL AND due_at <= $1::timestamptz AND (leased_until IS NULL OR leased_until <= $1::timestamptz)
    ORDER BY due_at, domain
    LIMIT $4::bigint
    FOR UPDATE SKIP LOCKED
) AS due
WHERE r.day = due.day AND r.domain = due.domain
RETURNING r.day - date '1970-01-01' AS day, r.domain, r.destinations
