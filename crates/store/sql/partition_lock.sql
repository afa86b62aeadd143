-- One replica at a time makes or drops partitions; waiting for locks is bounded, because acceptance waits behind.
SELECT pg_advisory_xact_lock(7243896512), set_config('lock_timeout', '1s', true)
