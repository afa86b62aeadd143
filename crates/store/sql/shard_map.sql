-- Every shard and, while its lease runs, its owner.
SELECT shard, epoch,
       CASE WHEN lease_until > now() THEN owner END AS owner,
       CASE WHEN lease_until > now() THEN address ELSE '' END AS address
FROM shard
ORDER BY shard
