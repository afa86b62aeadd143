-- This replica lives; so do those returned. Those long gone are forgotten.
WITH beat AS (
    INSERT INTO member (owner, address, weight, lease_until)
    VALUES ($1::uuid, $2::text, $3::real, now() + $4::bigint * interval '1 microsecond')
    ON CONFLICT (owner) DO UPDATE
    SET address = excluded.address, weight = excluded.weight, lease_until = excluded.lease_until
    RETURNING owner, address, weight
), forgotten AS (
    DELETE FROM member WHERE lease_until < now() - interval '1 day' AND owner <> $1::uuid
)
SELECT owner, address, weight FROM beat
UNION ALL
SELECT owner, address, weight FROM member WHERE lease_until > now() AND owner <> $1::uuid
ORDER BY owner
