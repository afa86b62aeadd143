-- The report of day $1 (since 1970-01-01) for the domain $2 is made at $4. Returns a row if $3 still held it.
UPDATE tls_report SET done_at = $4::timestamptz
WHERE day = date '1970-01-01' + $1::integer AND domain = $2::text AND holder = $3::uuid AND done_at IS NULL
RETURNING domain
