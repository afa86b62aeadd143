-- Gives back $3 deliveries that were taken of what the pool $1 may let out on day $2 (days since 1970), and not used.
UPDATE pool_day SET taken = GREATEST(taken - $3::bigint, 0)
WHERE pool = $1::text AND day = date '1970-01-01' + $2::integer
