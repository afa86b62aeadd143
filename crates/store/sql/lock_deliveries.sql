-- Locks deliveries, in one order so that no two settlements wait for each other. What belongs to them is read by a
-- statement of its own afterwards: this one's snapshot is older than the locks it waited for.
SELECT id FROM delivery WHERE id = ANY ($1::bigint[]) ORDER BY id FOR UPDATE
