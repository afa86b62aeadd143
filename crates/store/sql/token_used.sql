-- Notes when a token was shown; several replicas may know of different times.
UPDATE token SET last_used_at = $2::timestamptz
WHERE name = $1::text AND (last_used_at IS NULL OR last_used_at < $2::timestamptz)
RETURNING name
