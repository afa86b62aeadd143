-- Replicas that live, and what is left of their membership.
SELECT owner, address, weight, (extract(epoch FROM lease_until - now()) * 1000000)::bigint AS lease_left_us
FROM member
WHERE lease_until > now()
ORDER BY address, owner
