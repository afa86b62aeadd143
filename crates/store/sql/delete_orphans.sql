-- Removes locked chunks whose message still has no delivery, now that no acceptance can be under way.
DELETE FROM body b
WHERE b.message_id = ANY ($1::bigint[])
  AND (
    SELECT d.id FROM delivery d
    WHERE d.id >= b.message_id AND d.id < b.message_id + 4096 AND d.message_id = b.message_id
    ORDER BY d.id LIMIT 1
  ) IS NULL
RETURNING b.seq
