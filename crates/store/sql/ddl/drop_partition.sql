-- Takes an exclusive lock on `event` for a moment; lock_timeout bounds the wait for it. {name} comes from
-- old_partitions.sql.
DROP TABLE {name}
