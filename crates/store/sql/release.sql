-- Gives shards up; whoever takes them raises the epoch. $3: nothing of them is in flight, so the next owner need not ask.
UPDATE shard
SET owner = NULL, address = '', lease_until = CASE WHEN $3::boolean THEN '-infinity'::timestamptz ELSE now() END
WHERE owner = $1::uuid AND shard = ANY ($2::smallint[])
