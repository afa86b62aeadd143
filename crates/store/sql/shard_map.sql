-- Every shard and, while its lease runs, its owner and what is left of the lease. One that nobody owns is clean when it was
-- given up with nothing in flight, or never owned: it has no lease at all.
SELECT shard, epoch,
       CASE WHEN lease_until > now() THEN owner END AS owner,
       CASE WHEN lease_until > now() THEN address ELSE '' END AS address,
       CASE WHEN lease_until > now() THEN (extract(epoch FROM lease_until - now()) * 1000000)::bigint END AS lease_left_us,
       lease_until = '-infinity' AS is_clean
FROM shard
ORDER BY shard
