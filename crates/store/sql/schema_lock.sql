-- One migration at a time; released with the connection. While a step waits for the lock of a table, whoever wants to read
-- or write there waits behind it: so it gives up soon, lets them pass, and tries again.
SELECT pg_advisory_lock(7243896511), set_config('lock_timeout', '500ms', false)
