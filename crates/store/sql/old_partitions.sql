-- Event partitions whose day ended at or before $1 (UTC).
SELECT c.relname::text AS name
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'event'::regclass AND c.relname ~ '^event_[0-9]{8}$'
  AND to_date(substr(c.relname, 7), 'YYYYMMDD') + 1 <= ($1::timestamptz AT TIME ZONE 'UTC')
ORDER BY c.relname
