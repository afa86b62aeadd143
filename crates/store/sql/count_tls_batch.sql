-- Notes that batch $2 of the worker $1 is added, at $3. Returns a row unless it was before.
INSERT INTO tls_batch AS known (worker, batch, at) VALUES ($1::uuid, $2::bigint, $3::timestamptz)
ON CONFLICT (worker) DO UPDATE SET batch = excluded.batch, at = excluded.at WHERE known.batch < excluded.batch
RETURNING known.batch
