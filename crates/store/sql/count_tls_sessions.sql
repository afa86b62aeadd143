-- Adds sessions: $1 days (since 1970-01-01), $2 domains, $3 digests of policies, $4 their kinds, $5 lines, $6 hosts (lines),
-- $7 successes. Each key once.
INSERT INTO tls_session AS known (day, domain, policy, kind, lines, hosts, successes)
SELECT date '1970-01-01' + n.day, n.domain, n.policy, n.kind, string_to_array(n.lines, E'\n'),
       string_to_array(n.hosts, E'\n'), n.successes
FROM unnest($1::integer[], $2::text[], $3::bytea[], $4::smallint[], $5::text[], $6::text[], $7::bigint[])
    AS n (day, domain, policy, kind, lines, hosts, successes)
ORDER BY n.day, n.domain, n.policy
ON CONFLICT (day, domain, policy) DO UPDATE SET successes = known.successes + excluded.successes
