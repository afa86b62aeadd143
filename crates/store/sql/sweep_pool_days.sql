-- Sweeps what pools let out on days before $1.
DELETE FROM pool_day WHERE day < ($1::timestamptz AT TIME ZONE 'UTC')::date
