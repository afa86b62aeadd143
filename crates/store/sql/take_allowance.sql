-- Takes up to $3 deliveries of what the pool $1 may let out on day $2 (days since 1970), which is $4 for all replicas
-- together: how many that were, and how many all have taken. One statement and one row lock: of two replicas that ask at
-- a time the second sees what the first has taken.
INSERT INTO pool_day AS known (pool, day, taken, granted)
VALUES ($1::text, date '1970-01-01' + $2::integer, LEAST($3::bigint, $4::bigint), LEAST($3::bigint, $4::bigint))
ON CONFLICT (pool, day) DO UPDATE SET
    taken = known.taken + GREATEST(LEAST($3::bigint, $4::bigint - known.taken), 0),
    granted = GREATEST(LEAST($3::bigint, $4::bigint - known.taken), 0)
RETURNING known.granted, known.taken
