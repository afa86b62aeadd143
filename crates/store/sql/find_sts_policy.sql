-- The policy of the domain $1 that holds at $2.
SELECT id, text, fetched_at, expires_at FROM sts_policy WHERE domain = $1::text AND expires_at > $2::timestamptz
