-- A page of users, without what they log in with.
SELECT name, tenant_id, senders, enabled, changed_at FROM account WHERE name > $1::text ORDER BY name LIMIT $2::bigint
