-- The days without an event partition, from the day before $1 to $2 days after it (UTC).
SELECT to_char(day, '"event_"YYYYMMDD') AS name,
       to_char(day, 'YYYY-MM-DD"T00:00:00Z"') AS first,
       to_char(day + interval '1 day', 'YYYY-MM-DD"T00:00:00Z"') AS next
FROM generate_series(
    date_trunc('day', $1::timestamptz AT TIME ZONE 'UTC') - interval '1 day',
    date_trunc('day', $1::timestamptz AT TIME ZONE 'UTC') + $2::integer * interval '1 day',
    interval '1 day'
) AS day
WHERE to_regclass(to_char(day, '"event_"YYYYMMDD')) IS NULL
ORDER BY day
