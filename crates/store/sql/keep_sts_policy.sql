-- Keeps a policy of MTA-STS, unless a newer one of the domain is kept: $1 domain, $2 id, $3 text, $4 when it was fetched,
-- $5 until when it holds.
INSERT INTO sts_policy AS known (domain, id, text, fetched_at, expires_at)
VALUES ($1::text, $2::text, $3::text, $4::timestamptz, $5::timestamptz)
ON CONFLICT (domain) DO UPDATE SET
    id = excluded.id, text = excluded.text, fetched_at = excluded.fetched_at, expires_at = excluded.expires_at
WHERE known.fetched_at < excluded.fetched_at
