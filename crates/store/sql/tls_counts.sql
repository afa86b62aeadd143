-- What was counted on day $1 (since 1970-01-01) for the domain $2: at most $3 policies, each with at most $4 kinds of
-- failure, the most frequent; a row for each, and one for a policy without any.
SELECT s.policy, s.kind, s.lines, s.hosts, s.successes, f.fault, f.sending_address, f.host, f.host_address, f.reason,
       f.sessions
FROM (
    SELECT * FROM tls_session WHERE day = date '1970-01-01' + $1::integer AND domain = $2::text
    ORDER BY policy LIMIT $3::bigint
) AS s
LEFT JOIN LATERAL (
    SELECT * FROM tls_failure f WHERE f.day = s.day AND f.domain = s.domain AND f.policy = s.policy
    ORDER BY f.sessions DESC, f.failure LIMIT $4::bigint
) AS f ON true
ORDER BY s.kind, s.policy, f.sessions DESC, f.failure
