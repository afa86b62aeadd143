-- Takes shards whose lease has run out. SKIP LOCKED: two replicas that take at once share instead of waiting.
UPDATE shard
SET owner = $1::uuid, address = $2::text, epoch = epoch + 1, lease_until = now() + $4::bigint * interval '1 microsecond'
WHERE shard IN (
    SELECT shard FROM shard WHERE lease_until < now() ORDER BY lease_until, shard LIMIT $3::bigint FOR UPDATE SKIP LOCKED
)
RETURNING shard, epoch
