-- What only the tables know of the queue as a whole, for the replica that owns shard 0; nothing for others, and then
-- nothing is counted.
SELECT (SELECT count(*) FROM held) AS held,
       (SELECT n_live_tup FROM pg_stat_user_tables WHERE relid = 'delivery'::regclass) AS stored,
       (SELECT min(id) FROM delivery) AS oldest
FROM shard
WHERE shard = 0 AND owner = $1::uuid
