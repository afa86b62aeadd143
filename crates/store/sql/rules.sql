-- The rules in force that follow ($3, $4); all of them where $5 is null.
SELECT kind, name, reason, created_by, created_at, expires_at
FROM rule
WHERE action = $1::text AND (expires_at IS NULL OR expires_at > $2::timestamptz) AND (kind, name) > ($3::text, $4::text)
ORDER BY kind, name
LIMIT $5::bigint
