-- Takes shards whose lease has run out. SKIP LOCKED: two replicas that take at once share instead of waiting. One that
-- was released with nothing in flight, or never owned, has no lease at all: it was left clean.
UPDATE shard
SET owner = $1::uuid, address = $2::text, epoch = shard.epoch + 1,
    lease_until = now() + $4::bigint * interval '1 microsecond'
FROM (
    SELECT shard, lease_until = '-infinity' AS clean FROM shard
    WHERE lease_until < now() ORDER BY lease_until, shard LIMIT $3::bigint FOR UPDATE SKIP LOCKED
) AS free
WHERE shard.shard = free.shard
RETURNING shard.shard, shard.epoch, free.clean
