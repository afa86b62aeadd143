-- Renews every shard this replica owns; one that is not returned is another's. A lease that ran out while nobody took
-- the shard is renewed in the same epoch: no other owner was in between.
UPDATE shard SET lease_until = now() + $2::bigint * interval '1 microsecond' WHERE owner = $1::uuid
RETURNING shard, epoch
