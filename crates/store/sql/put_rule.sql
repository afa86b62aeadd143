-- Makes a rule, or replaces it; no row where there are $8 others already.
INSERT INTO rule (action, kind, name, reason, created_by, created_at, expires_at)
SELECT $1::text, $2::text, $3::text, $4::text, $5::text, $6::timestamptz, $7::timestamptz
WHERE (SELECT count(*) FROM rule WHERE (action, kind, name) <> ($1::text, $2::text, $3::text)) < $8::bigint
ON CONFLICT (action, kind, name) DO UPDATE SET
    reason = excluded.reason, created_by = excluded.created_by, created_at = excluded.created_at,
    expires_at = excluded.expires_at
RETURNING name
