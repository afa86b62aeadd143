-- The post $1 that $2 holds failed at $3: it is tried again after five minutes, ten, twenty, up to four hours. Returns a row
-- if $2 still held it: whether its time is over by then.
UPDATE tls_post SET
    holder = NULL, leased_until = NULL,
    next_at = $3::timestamptz + LEAST(interval '5 minutes' * power(2, LEAST(attempts, 10) - 1), interval '4 hours')
WHERE id = $1::bigint AND holder = $2::uuid
RETURNING next_at >= expires_at AS over
