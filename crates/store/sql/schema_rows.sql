-- The migrations that were applied.
SELECT version, checksum, oldest_program FROM schema_version ORDER BY version
