-- What is held and is no delivery: there must be none, however the delivery ended.
SELECT h.delivery_id
FROM held h
WHERE NOT EXISTS (SELECT 1 FROM delivery d WHERE d.id = h.delivery_id)
ORDER BY h.delivery_id
LIMIT $1::bigint
