-- A step may read a large table once, and who is not the first to migrate waits for who is.
SELECT set_config('statement_timeout', '0', false)
