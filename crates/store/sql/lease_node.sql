-- Renews a holder's node number, or leases it the one that has been unused for longest.
WITH mine AS (
    UPDATE node SET lease_until = now() + $2::bigint * interval '1 microsecond' WHERE holder = $1::uuid RETURNING number
), free AS (
    SELECT number FROM node
    WHERE lease_until < now() AND NOT EXISTS (SELECT 1 FROM mine)
    ORDER BY lease_until, number LIMIT 1 FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE node SET holder = $1::uuid, lease_until = now() + $2::bigint * interval '1 microsecond'
    WHERE number = (SELECT number FROM free)
    RETURNING number
)
SELECT number FROM mine UNION ALL SELECT number FROM taken
