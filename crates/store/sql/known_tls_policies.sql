-- What is counted already for days $1 (since 1970-01-01) and domains $2: each policy, and how many kinds of failure it has.
SELECT s.day - date '1970-01-01' AS day, s.domain, s.policy,
       (SELECT count(*) FROM tls_failure f WHERE f.day = s.day AND f.domain = s.domain AND f.policy = s.policy) AS failures
FROM unnest($1::integer[], $2::text[]) AS w (day, domain)
JOIN tls_session s ON s.day = date '1970-01-01' + w.day AND s.domain = w.domain
