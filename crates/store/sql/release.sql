-- Gives shards up; whoever takes them raises the epoch.
UPDATE shard SET owner = NULL, address = '', lease_until = '-infinity'
WHERE owner = $1::uuid AND shard = ANY ($2::smallint[])
