-- Reports to be made: $1 days (since 1970-01-01), $2 domains, $3 destinations (lines), $4 when each is due. Of destinations
-- the last that were found count.
INSERT INTO tls_report AS known (day, domain, destinations, due_at)
SELECT date '1970-01-01' + n.day, n.domain, string_to_array(n.destinations, E'\n'), n.due_at
FROM unnest($1::integer[], $2::text[], $3::text[], $4::timestamptz[]) AS n (day, domain, destinations, due_at)
ORDER BY n.day, n.domain
ON CONFLICT (day, domain) DO UPDATE SET destinations = excluded.destinations
WHERE known.done_at IS NULL AND known.destinations <> excluded.destinations
