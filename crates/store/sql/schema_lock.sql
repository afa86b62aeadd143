-- One migration at a time; released with the connection. Waiting for the tables' locks is bounded.
SELECT pg_advisory_lock(7243896511), set_config('lock_timeout', '10s', false), set_config('statement_timeout', '0', false)
