-- Adds sessions that failed: $1 days (since 1970-01-01), $2 domains, $3 digests of policies, $4 digests of failures,
-- $5 faults, $6 our addresses, $7 hosts, $8 their addresses, $9 reasons, $10 how many. Each key once.
INSERT INTO tls_failure AS known
    (day, domain, policy, failure, fault, sending_address, host, host_address, reason, sessions)
SELECT date '1970-01-01' + n.day, n.domain, n.policy, n.failure, n.fault, n.sending_address, n.host, n.host_address,
       n.reason, n.sessions
FROM unnest($1::integer[], $2::text[], $3::bytea[], $4::bytea[], $5::smallint[], $6::text[], $7::text[], $8::text[],
            $9::text[], $10::bigint[])
    AS n (day, domain, policy, failure, fault, sending_address, host, host_address, reason, sessions)
ORDER BY n.day, n.domain, n.policy, n.failure
ON CONFLICT (day, domain, policy, failure) DO UPDATE SET sessions = known.sessions + excluded.sessions
